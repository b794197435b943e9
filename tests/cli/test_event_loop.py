from __future__ import annotations

import asyncio
import os

import pytest

from livepost.cli import event_loop


async def nothing() -> None:
    pass


def test_what_is_raised_comes_out() -> None:
    async def main() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        event_loop.run(main())


def test_a_crash_in_a_callback_ends_the_program() -> None:
    cleaned_up: list[bool] = []

    def crash() -> None:
        raise ZeroDivisionError("mine")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(crash)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    with pytest.raises(ZeroDivisionError, match="mine"):
        event_loop.run(main())
    assert cleaned_up == [True]


def test_a_cancellation_of_ones_own_comes_out() -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        event_loop.run(main())


def test_no_descriptor_is_left_over() -> None:
    before = os.listdir("/proc/self/fd")
    event_loop.run(nothing())
    assert os.listdir("/proc/self/fd") == before
