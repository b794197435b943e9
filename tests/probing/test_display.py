from __future__ import annotations

import io
import re

import pytest

from livepost.probing.display import NoDisplay, PlainDisplay, make_display
from livepost.probing.live import LiveDisplay

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
DOING = {"idle limit": "3 connections open", "request cap": "7 of 1,100 requests"}


def test_a_log_gets_a_line_at_a_time() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream)
    display.start()
    display.tick(10.2, DOING)
    display.tick(20.1, {"handshakes": "under way"})
    display.stop()
    assert stream.getvalue() == (
        "10 s: idle limit: 3 connections open; request cap: 7 of 1,100 requests\n"
        "20 s: handshakes: under way\n"
    )
    assert display.interval_seconds == 10.0


def test_a_terminal_is_drawn_on_and_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    display = LiveDisplay(stream)
    display.start()
    display.tick(12.0, DOING)
    shown = [line.rstrip() for line in CONTROL.sub("", stream.getvalue()).splitlines()]
    assert "idle limit   3 connections open" in shown
    assert any(line.startswith("12 s") and "Ctrl-C" in line for line in shown)
    display.stop()
    # It goes up over its lines and erases them.
    assert stream.getvalue().rstrip("\n").count("\x1b[1A\x1b[2K") >= 2


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("none", NoDisplay), ("plain", PlainDisplay), ("auto", PlainDisplay), ("bar", LiveDisplay)],
)
def test_each_mode_has_its_display(monkeypatch: pytest.MonkeyPatch, mode: str, kind: type) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert type(make_display(mode, io.StringIO())) is kind


def test_without_a_stream_nothing_is_shown() -> None:
    display = make_display("bar", None)
    assert type(display) is NoDisplay
    display.start()
    display.tick(1.0, DOING)
    display.stop()
    assert display.interval_seconds is None
