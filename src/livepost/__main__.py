"""`python -m livepost` is the `livepost` command."""

from __future__ import annotations

import sys

from livepost.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
