from __future__ import annotations

import asyncio
import os
import sys

import pytest
import uvloop

from livepost.cli import event_loop


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_uvloop_is_used_where_it_is_installed() -> None:
    assert isinstance(event_loop.run(running_loop()), uvloop.Loop)


def test_asyncios_own_loop_is_used_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(event_loop.run(running_loop()), asyncio.SelectorEventLoop)


def test_what_is_raised_comes_out() -> None:
    async def main() -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        event_loop.run(main())


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_a_crash_in_a_callback_ends_the_program(monkeypatch: pytest.MonkeyPatch, with_uvloop: bool) -> None:
    if not with_uvloop:
        monkeypatch.setitem(sys.modules, "uvloop", None)
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
    event_loop.run(running_loop())
    assert os.listdir("/proc/self/fd") == before
