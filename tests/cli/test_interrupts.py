from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from livepost.cli import event_loop
from livepost.cli.interrupts import Interrupts


async def _signals(*numbers: signal.Signals) -> tuple[list[str], signal.Signals | None]:
    called: list[str] = []
    heard = asyncio.Event()

    def on_first(number: signal.Signals) -> None:
        called.append(f"first {number.name}")
        heard.set()

    def on_second() -> None:
        called.append("second")
        heard.set()

    interrupts = Interrupts(on_first, on_second)
    with interrupts.handled():
        for number in numbers:
            heard.clear()
            os.kill(os.getpid(), number)
            await heard.wait()
    return called, interrupts.received


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_further_ones_abort(first: signal.Signals, second: signal.Signals) -> None:
    called, received = event_loop.run(_signals(first, second, first))
    assert called == [f"first {first.name}", "second", "second"]
    assert received is first


def test_without_a_signal_nothing_is_called() -> None:
    assert event_loop.run(_signals()) == ([], None)


def test_the_handlers_are_gone_afterwards() -> None:
    event_loop.run(_signals(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


_SHOWING = """
import asyncio
from livepost.cli.interrupts import Interrupts

async def main():
    heard = asyncio.Event()
    with Interrupts(lambda number: (print(number.name, flush=True), heard.set()), print).handled():
        print("ready", flush=True)
        await heard.wait()

asyncio.run(main())
"""


def test_to_be_stopped_and_continued_is_no_signal_and_those_that_follow_are_heard() -> None:
    with subprocess.Popen(
        (sys.executable, "-c", _SHOWING), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(2):
                process.send_signal(signal.SIGSTOP)
                # Longer than any time-out of the thread that waits for signals.
                time.sleep(0.25)
                process.send_signal(signal.SIGCONT)
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=10) == ("SIGTERM\n", "")
        finally:
            process.kill()
    assert process.returncode == 0
