from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from livepost.cli.talk import print_data, say, say_error
from livepost.errors import ConfigurationError, OutputError


def test_talk_goes_to_stderr_and_data_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    say("a word")
    print_data("a datum")
    assert capfd.readouterr() == ("a datum\n", "a word\n")


def test_an_error_is_a_sentence_with_a_hint(capfd: pytest.CaptureFixture[str]) -> None:
    say_error(ConfigurationError("it is wrong", "make it right"))
    say_error(ConfigurationError("it is wrong"))
    assert capfd.readouterr() == ("", "livepost: it is wrong\n  hint: make it right\nlivepost: it is wrong\n")


def test_an_error_repeats_no_password_but_its_hint_may_show_how_to_write_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    say_error(ConfigurationError("cannot read http://us:pw@h/", "write http://USER:PASSWORD@HOST"))
    assert capfd.readouterr().err == (
        "livepost: cannot read ...@h/\n  hint: write http://USER:PASSWORD@HOST\n"
    )


def test_nothing_happens_when_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as raw:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, write_through=True))
        say("to a reader that went away")
    say("to a stream that is closed")
    monkeypatch.setattr(sys, "stderr", None)
    say("to no stream")
    assert capfd.readouterr() == ("", "")


def test_data_for_a_reader_that_went_away_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print_data("a datum")
        stream.flush()


def test_data_beyond_the_encoding_of_stdout_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    print_data("für \u4e2d \udcff")
    assert raw.getvalue() == b"f\xfcr \\u4e2d \\udcff\n"
    anything = io.StringIO()
    monkeypatch.setattr(sys, "stdout", anything)
    print_data("für \u4e2d")
    assert anything.getvalue() == "für \u4e2d\n"


def test_data_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(OutputError) as caught:
            print_data("a datum")
    assert str(caught.value) == f"standard output cannot be written: {os.strerror(errno.ENOSPC)}"


def test_data_without_a_stdout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match=r"^standard output is closed$"):
        print_data("a datum")
