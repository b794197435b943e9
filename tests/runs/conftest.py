"""What the tests of run directories share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_mask() -> Iterator[None]:
    """A umask that takes nothing away, so that every permission is the code's own choice."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def full_mask() -> Iterator[None]:
    """A umask that takes everything away."""
    before = os.umask(0o777)
    yield
    os.umask(before)
