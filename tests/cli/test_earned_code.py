from __future__ import annotations

import signal

import pytest

from livepost.cli.earned_code import earned_code
from livepost.deliver import Result
from livepost.errors import DialError, InputError, LivepostError, OutputError, PermanentDialError
from livepost.report.summary import summarize
from livepost.report.tally import Tally


def result(
    delivered: int = 0,
    rejected: int = 0,
    in_doubt: int = 0,
    unsent: int = 0,
    *,
    error: LivepostError | None = None,
    was_reached: bool = True,
) -> Result:
    tally = Tally()
    tally.records_delivered = delivered
    tally.records_rejected = rejected
    tally.records_in_doubt = in_doubt
    tally.records_unsent = unsent
    summary = summarize(tally, read=delivered + rejected + in_doubt + unsent, seconds=1.0)
    return Result(summary, error, was_stopped=False, was_reached=was_reached, read_to_end=True, troubles=())


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (result(), 0),
        (result(was_reached=False), 0),
        (result(3), 0),
        (result(3, 1), 1),
        (result(3, 0, 1), 1),
        (result(0, 3, was_reached=False), 1),
        (result(3, 1, 1, 1), 75),
        (result(3, 0, 0, 1), 75),
        (result(3, error=DialError("gone")), 75),
        (result(3, error=InputError("cut short")), 75),
        (result(3, error=OutputError("disk full")), 75),
        (result(0, error=DialError("down"), was_reached=False), 3),
        (result(0, 1, 0, 9, error=PermanentDialError("no host"), was_reached=False), 3),
        (result(0, error=InputError("cut short"), was_reached=False), 75),
        (result(0, 1, error=OutputError("disk full"), was_reached=False), 75),
    ],
)
def test_a_run_earns_its_code(ended: Result, code: int) -> None:
    assert earned_code(ended, None) == code


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (result(3), 1),
        (result(3, 1), 1),
        (result(3, 0, 0, 1), 75),
        (result(3, error=OutputError("disk full")), 75),
        (result(0, error=DialError("down"), was_reached=False), 3),
    ],
)
def test_too_many_handshakes_fail_a_run_that_nothing_worse_befell(ended: Result, code: int) -> None:
    assert earned_code(ended, None, has_too_many_handshakes=True) == code
    assert earned_code(ended, signal.SIGINT, has_too_many_handshakes=True) == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_outweighs_everything(number: signal.Signals, code: int) -> None:
    assert earned_code(result(3), number) == code
    assert earned_code(result(0, error=DialError("down"), was_reached=False), number) == code
