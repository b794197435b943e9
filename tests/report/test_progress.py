from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from livepost.events import ConnectionOpened
from livepost.model import Outcome, Record, Rejection, State
from livepost.report.bar import BarProgress
from livepost.report.progress import NoProgress, Pace, PlainProgress, Snapshot, make_progress
from livepost.report.tally import Tally
from livepost.wire.message import Exchange, RequestHead

START = Snapshot(
    seconds=0.0,
    finished=0,
    delivered=0,
    rejected=0,
    in_doubt=0,
    fraction=None,
    open_connections=0,
    opened=0,
    requests=0,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class BrokenStream(io.StringIO):
    """Its reader has gone; counts how often anybody still tries."""

    tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise BrokenPipeError


def at(seconds: float, finished: int, fraction: float | None = None) -> Snapshot:
    return replace(START, seconds=seconds, finished=finished, delivered=finished, fraction=fraction)


def test_a_snapshot_of_a_tally() -> None:
    tally = Tally()
    tally.connection_opened(ConnectionOpened(1, "127.0.0.1:80", 0.01))
    exchange = Exchange(RequestHead(b"POST", b"/", b"h", b"http", ()), b"{}", Record(1, b"{}", "-", 1))
    for state in (State.DELIVERED, State.DELIVERED, State.DELIVERED, State.IN_DOUBT):
        tally.finished(exchange, Outcome(state, ""), None, 0.01)
    tally.retried(exchange, "reset", None, 0.01)
    tally.rejected(Rejection(5, "-", 5, "not JSON"))
    assert Snapshot.of(tally, seconds=2.0, fraction=0.5) == Snapshot(
        seconds=2.0,
        finished=5,
        delivered=3,
        rejected=1,
        in_doubt=1,
        fraction=0.5,
        open_connections=1,
        opened=1,
        requests=5,
    )
    assert Snapshot.of(tally, seconds=2.0, fraction=None).handshakes_saved == 4


def test_connections_without_a_request_yet_save_no_handshakes() -> None:
    assert replace(START, opened=64, requests=3).handshakes_saved == 0


def test_the_rate_is_over_the_last_ten_seconds() -> None:
    pace = Pace()
    for second in range(1, 31):
        pace.update(at(second, 1000 * second))
    assert pace.records_per_second == 1000
    for second in range(31, 36):
        pace.update(at(second, 30_000))
    assert pace.records_per_second == 500
    for second in range(36, 41):
        pace.update(at(second, 30_000))
    assert pace.records_per_second == 0


def test_the_rate_of_rare_ticks_is_since_the_one_before() -> None:
    pace = Pace()
    pace.update(at(10.01, 1001))
    assert pace.records_per_second == pytest.approx(100)
    pace.update(at(20.03, 1001 + 5010))
    assert pace.records_per_second == pytest.approx(500)
    pace.update(at(60.03, 1001 + 5010))
    assert pace.records_per_second == 0


def test_two_ticks_at_the_same_time_divide_by_nothing() -> None:
    pace = Pace()
    pace.update(at(0.0, 0))
    pace.update(at(0.0, 5, 0.5))
    assert pace.records_per_second == 0
    assert pace.seconds_left == 0


def test_the_time_left_follows_the_recent_speed() -> None:
    pace = Pace()
    for second in range(1, 21):
        pace.update(at(second, second, 0.01 * second))
    assert pace.seconds_left == pytest.approx(80)
    for second in range(21, 31):
        pace.update(at(second, second, 0.2 + 0.04 * (second - 20)))
    assert pace.seconds_left == pytest.approx(10)


def test_the_time_left_is_unknown_without_a_size_or_while_nothing_moves() -> None:
    pace = Pace()
    pace.update(at(5, 100))
    assert pace.seconds_left is None
    pace.update(at(6, 100, 0.1))
    assert pace.seconds_left == pytest.approx(54)
    for second in range(7, 20):
        pace.update(at(second, 100, 0.1))
    assert pace.seconds_left is None


def test_what_an_earlier_process_has_done_makes_this_one_no_faster() -> None:
    """Half of the input is passed over at once; then a hundredth is done in a second."""
    pace = Pace()
    for second in range(1, 16):
        now = at(second, 100 * second, 0.5 + 0.01 * second)
        pace.update(replace(now, earlier=0.5))
        assert pace.seconds_left == pytest.approx(50 - second)
        assert pace.records_per_second == 100


def test_nor_does_it_count_as_left() -> None:
    """Of each ten records nine were done earlier, all over the input."""
    pace = Pace()
    for second in range(1, 16):
        fraction = 0.05 * second
        now = at(second, 10 * second, fraction)
        pace.update(replace(now, earlier=0.9 * fraction, earlier_ahead=0.9 * (1 - fraction)))
        assert pace.seconds_left == pytest.approx(20 - second)


def test_the_first_line_of_a_resumed_run_promises_nothing_false() -> None:
    stream = io.StringIO()
    PlainProgress(stream).tick(replace(at(10.0, 1_000, 0.55), earlier=0.5))
    assert stream.getvalue().startswith("10 s: 55 %, 1 min 30 s left, 1,000 records, 100/s")


def test_plain_lines() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    assert progress.interval_seconds == 10.0
    progress.start()
    progress.tick(replace(at(10.0, 1), open_connections=1, opened=1, requests=1))
    progress.tick(replace(at(20.0, 50_001, 0.254), open_connections=64, opened=66, requests=50_070))
    progress.tick(
        replace(
            at(70.0, 100_001, 0.5),
            rejected=1200,
            in_doubt=3,
            open_connections=64,
            opened=66,
            requests=100_080,
        )
    )
    progress.stop()
    assert stream.getvalue().splitlines() == [
        "10 s: 1 record, 0.1/s, 1 connection, 0 handshakes saved",
        "20 s: 25 %, 50,001 records, 5,000/s, 64 connections, 50,004 handshakes saved",
        (
            "1 min 10 s: 50 %, 1 min 42 s left, 100,001 records, 1,200 rejected, 3 in doubt, 1,000/s, "
            "64 connections, 100,014 handshakes saved"
        ),
    ]


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.9999, "99 %"), (1.0, "100 %"), (1.01, "100 %"), (-0.1, "0 %")]
)
def test_a_hundred_per_cent_is_said_only_of_all(fraction: float, text: str) -> None:
    stream = io.StringIO()
    PlainProgress(stream).tick(at(10, 1, fraction))
    assert stream.getvalue().startswith(f"10 s: {text}, ")


@pytest.mark.parametrize(
    ("mode", "term", "stream", "kind"),
    [
        ("auto", "xterm", Terminal(), BarProgress),
        ("auto", "dumb", Terminal(), PlainProgress),
        ("auto", "xterm", io.StringIO(), PlainProgress),
        ("bar", "xterm", io.StringIO(), BarProgress),
        ("bar", "dumb", Terminal(), PlainProgress),
        ("plain", "xterm", Terminal(), PlainProgress),
        ("none", "xterm", Terminal(), NoProgress),
        ("auto", "xterm", None, NoProgress),
        ("bar", "xterm", None, NoProgress),
    ],
)
def test_the_mode_chooses(
    monkeypatch: pytest.MonkeyPatch, mode: str, term: str, stream: io.StringIO | None, kind: type
) -> None:
    monkeypatch.setenv("TERM", term)
    assert type(make_progress(mode, stream)) is kind


def test_auto_without_a_terminal_type_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)
    assert type(make_progress("auto", Terminal())) is BarProgress


def test_auto_on_a_closed_stream_is_plain_and_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    stream.close()
    progress = make_progress("auto", stream)
    assert type(progress) is PlainProgress
    progress.start()
    progress.tick(at(10, 1))
    progress.stop()


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'fancy'"):
        make_progress("fancy", io.StringIO())


def test_no_progress_wants_no_ticks_and_says_nothing() -> None:
    stream = io.StringIO()
    progress = make_progress("none", stream)
    assert progress.interval_seconds is None
    progress.start()
    progress.tick(at(10, 1))
    progress.stop()
    assert stream.getvalue() == ""


def test_a_reader_that_has_gone_is_left_alone() -> None:
    stream = BrokenStream()
    progress = PlainProgress(stream)
    for second in (10, 20, 30):
        progress.tick(at(second, 1))
    assert stream.tries == 1


def test_plain_progress_needs_no_rich() -> None:
    program = (
        "import sys; from livepost.report.progress import *;"
        "p = make_progress('plain', sys.stderr); p.start();"
        "p.tick(Snapshot(10.0, 1, 1, 0, 0, None, 1, 1, 1)); p.stop();"
        "print('rich' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "False\n"
    assert run.stderr == "10 s: 1 record, 0.1/s, 1 connection, 0 handshakes saved\n"
