from __future__ import annotations

import io
import re
import sys

import pytest

from livepost.report.bar import BarProgress
from livepost.report.progress import Snapshot

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+")


def screen(output: str) -> list[str]:
    """What a terminal shows after `output`: the few controls that a live display uses."""
    rows, row, column = [""], 0, 0
    for token in CONTROL.findall(COLOUR.sub("", output)):
        if token == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif token == "\r":
            column = 0
        elif token == "\x1b[2K":
            rows[row] = ""
        elif token == "\x1b[1A":
            row -= 1
        elif token in ("\x1b[?25l", "\x1b[?25h"):
            pass
        else:
            assert not token.startswith("\x1b"), f"unexpected control {token!r}"
            rows[row] = rows[row][:column].ljust(column) + token + rows[row][column + len(token) :]
            column += len(token)
    return [line.rstrip() for line in rows]


def at(
    seconds: float, finished: int, fraction: float | None, rejected: int = 0, in_doubt: int = 0
) -> Snapshot:
    delivered = finished - rejected - in_doubt
    return Snapshot(seconds, finished, delivered, rejected, in_doubt, fraction, 64, 66, finished + 2)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def shown(stream: io.StringIO, *snapshots: Snapshot) -> list[str]:
    """The screen before the bar is taken away again."""
    progress = BarProgress(stream)
    progress.start()
    for snapshot in snapshots:
        progress.tick(snapshot)
    lines = screen(stream.getvalue())
    progress.stop()
    return lines


def test_at_eighty_columns(stream: io.StringIO) -> None:
    assert shown(stream, at(10, 1_000_000, 0.25), at(20, 2_000_000, 0.5, rejected=2, in_doubt=1)) == [
        "━" * 28 + "╸" + "━" * 28 + "  50 %  20 s left",
        "2,000,000 records, 2 rejected, 1 in doubt, 100,000/s",
        "64 connections, 1,999,936 handshakes saved",
    ]


def test_at_forty_columns_items_stay_whole(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = shown(stream, at(10, 1_000_000, 0.25), at(20, 2_000_000, 0.5, rejected=2, in_doubt=1))
    assert lines == [
        "━" * 8 + "╸" + "━" * 8 + "  50 %  20 s left",
        "2,000,000 records, 2 rejected,",
        "1 in doubt, 100,000/s",
        "64 connections,",
        "1,999,936 handshakes saved",
    ]


@pytest.mark.parametrize("columns", [1, 5, 20, 40, 80, 300])
def test_no_line_is_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = shown(stream, at(3600, 10**9, 0.01, rejected=10**6, in_doubt=10**6))
    assert max(map(len, lines)) <= columns


def test_without_a_known_size_the_time_passed_takes_the_place_of_the_bar(stream: io.StringIO) -> None:
    assert shown(stream, at(72.4, 144, None)) == [
        "1 min 12 s so far",
        "144 records, 1.99/s",
        "64 connections, 80 handshakes saved",
    ]


def test_the_bar_leaves_nothing_behind(stream: io.StringIO) -> None:
    shown(stream, at(1, 10, 0.1), at(2, 2000, 0.2, rejected=1), at(3, 3000, None))
    assert set(screen(stream.getvalue())) == {""}
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1


def test_stopping_before_the_first_tick_leaves_nothing_behind(stream: io.StringIO) -> None:
    shown(stream)
    assert set(screen(stream.getvalue())) == {""}


def test_stopping_twice_or_without_a_start_is_harmless(stream: io.StringIO) -> None:
    BarProgress(stream).stop()
    assert stream.getvalue() == ""
    progress = BarProgress(stream)
    progress.start()
    progress.stop()
    length = len(stream.getvalue())
    progress.stop()
    assert len(stream.getvalue()) == length


def test_what_is_said_meanwhile_stands_above_the_bar(stream: io.StringIO) -> None:
    before = sys.stderr
    progress = BarProgress(stream)
    progress.start()
    progress.tick(at(1, 10, 0.1))
    print("finishing 3 records [in flight]", file=sys.stderr)
    progress.tick(at(2, 20, 0.2))
    lines = screen(stream.getvalue())
    progress.stop()
    assert lines[0] == "finishing 3 records [in flight]"
    assert lines[2:] == ["20 records, 10/s", "64 connections, 0 handshakes saved"]
    assert screen(stream.getvalue())[0] == "finishing 3 records [in flight]"
    assert sys.stderr is before


def test_colours(stream: io.StringIO) -> None:
    shown(stream, at(1, 10, 0.5, rejected=3, in_doubt=4))
    assert "\x1b[31m3 rejected\x1b[0m" in stream.getvalue()
    assert "\x1b[33m4 in doubt\x1b[0m" in stream.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    lines = shown(stream, at(1, 10, 0.5, rejected=3, in_doubt=4))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", stream.getvalue())
    assert lines[0].startswith("━" * 28 + "╸" + " " * 28)


def test_a_terminal_without_unicode_gets_an_ascii_bar() -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", errors="strict") as stream:
        progress = BarProgress(stream)
        progress.start()
        progress.tick(at(1, 10, 0.5))
        stream.flush()
        assert screen(raw.getvalue().decode("ascii"))[0] == "-" * 28 + " " + "-" * 28 + "  50 %  1 s left"
        progress.stop()


class BrokenStream(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_has_gone_ends_neither_the_run_nor_standard_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    shown(BrokenStream(), at(1, 10, 0.5), at(2, 20, 1.0))
    print("still here")
    assert capfd.readouterr() == ("still here\n", "")


def test_a_stream_closed_on_the_way(capfd: pytest.CaptureFixture[str], stream: io.StringIO) -> None:
    progress = BarProgress(stream)
    progress.start()
    progress.tick(at(1, 10, 0.5))
    stream.close()
    progress.tick(at(2, 20, 1.0))
    progress.stop()
    assert capfd.readouterr() == ("", "")
