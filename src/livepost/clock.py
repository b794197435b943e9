"""The clock that everything with a deadline or a duration is given.

Seconds as a float from an arbitrary start, never going backwards.  Tests pass a clock of their
own that only moves when told to.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

monotonic: Clock = time.monotonic
