from __future__ import annotations

import asyncio
import os
import signal

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


def test_sigint_while_the_loop_is_made_ends_the_program_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[bool] = []
    made: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        begun.append(True)

    def make_interrupted() -> asyncio.AbstractEventLoop:
        os.kill(os.getpid(), signal.SIGINT)
        made.append(make())
        return made[-1]

    make = asyncio.new_event_loop
    monkeypatch.setattr(asyncio.events, "new_event_loop", make_interrupted)
    with pytest.raises(KeyboardInterrupt):
        event_loop.run(main())
    assert ([loop.is_closed() for loop in made], begun) == ([True], [])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_no_descriptor_is_left_over() -> None:
    before = os.listdir("/proc/self/fd")
    event_loop.run(nothing())
    assert os.listdir("/proc/self/fd") == before
