from __future__ import annotations

import errno
import io
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from livepost.errors import ConfigurationError, OutputError
from livepost.model import Outcome, Record, Rejection, State
from livepost.report.receipts import Receipts
from livepost.wire.message import Exchange, RequestHead, Response

HEAD = RequestHead(b"POST", b"/api", b"localhost", b"http", ())
DELIVERED = Outcome(State.DELIVERED, "201")


def exchange(number: int = 1, *, attempts: int = 1, request_on_connection: int = 1) -> Exchange:
    made = Exchange(HEAD, b"{}", Record(number, b"{}", "users.ndjson", number + 10))
    made.attempts = attempts
    made.connection = 7
    made.request_on_connection = request_on_connection
    return made


def answer(body: bytes, status: int = 201) -> Response:
    return Response(status, (), body)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.ndjson"


@pytest.fixture
def receipts(path: Path) -> Iterator[Receipts]:
    made = Receipts(str(path))
    yield made
    made.close()


def test_a_delivered_record(receipts: Receipts, path: Path) -> None:
    receipts.finished(exchange(3, request_on_connection=2), DELIVERED, answer(b'{"id": 9}'), 0.0123456)
    receipts.close()
    assert path.read_text() == (
        '{"n":3,"outcome":"delivered","status":201,"ms":12.346,"attempts":1,"connection":7,'
        '"reused":true,"body":"{\\"id\\": 9}","reason":null,"source":"users.ndjson","line":13}\n'
    )


def test_a_record_refused_by_an_answer(receipts: Receipts, path: Path) -> None:
    outcome = Outcome(State.REJECTED, "422 Unprocessable Content")
    receipts.finished(exchange(attempts=2), outcome, answer(b"", 422), 0.5)
    receipts.close()
    assert lines(path) == [
        {
            "n": 1,
            "outcome": "rejected",
            "status": 422,
            "ms": 500.0,
            "attempts": 2,
            "connection": 7,
            "reused": False,
            "body": "",
            "reason": "422 Unprocessable Content",
            "source": "users.ndjson",
            "line": 11,
        }
    ]


def test_a_record_in_doubt_has_no_answer(receipts: Receipts, path: Path) -> None:
    receipts.finished(exchange(), Outcome(State.IN_DOUBT, "connection reset"), None, 0.25)
    receipts.close()
    (line,) = lines(path)
    assert (line["outcome"], line["reason"]) == ("in_doubt", "connection reset")
    assert (line["status"], line["body"], line["ms"], line["connection"]) == (None, None, 250.0, 7)


def test_a_record_never_fit_to_send(receipts: Receipts, path: Path) -> None:
    receipts.rejected(Rejection(4, "users.ndjson", 5, "not JSON"))
    receipts.close()
    assert lines(path) == [
        {
            "n": 4,
            "outcome": "rejected",
            "status": None,
            "ms": None,
            "attempts": 0,
            "connection": None,
            "reused": False,
            "body": None,
            "reason": "not JSON",
            "source": "users.ndjson",
            "line": 5,
        }
    ]


def test_unsent_records_tell_how_often_they_were_tried(receipts: Receipts, path: Path) -> None:
    receipts.retried(exchange(1, attempts=1), "connection reset", None, 0.1)
    receipts.retried(exchange(1, attempts=2), "connection reset", None, 0.1)
    receipts.left(exchange(1).record, Outcome(State.UNSENT, "the run ended first"))
    receipts.left(exchange(2).record, Outcome(State.UNSENT, "the run ended first"))
    receipts.close()
    assert [(line["n"], line["outcome"], line["attempts"]) for line in lines(path)] == [
        (1, "unsent", 2),
        (2, "unsent", 0),
    ]
    assert {line["reason"] for line in lines(path)} == {"the run ended first"}


def test_a_retry_writes_nothing_and_leaves_nothing_behind(receipts: Receipts, path: Path) -> None:
    receipts.retried(exchange(1, attempts=1), "503", answer(b"busy", 503), 0.1)
    receipts.flush()
    assert path.read_bytes() == b""
    receipts.finished(exchange(1, attempts=2), DELIVERED, answer(b"ok"), 0.1)
    receipts.close()
    assert [(line["attempts"], line["body"]) for line in lines(path)] == [(2, "ok")]
    assert receipts._attempts_of_retried == {}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"12345", "12345"),
        (b"123456789", "12345"),
        ("1234é".encode(), "1234"),
        ("123é5".encode(), "123é"),
        (b"\xff\xfe", "��"),
        (b"\xff234567", "�2345"),
        (b"a\nb\0", "a\nb\0"),
        (b"", ""),
    ],
)
def test_bodies_are_text_cut_at_the_bound(path: Path, body: bytes, text: str) -> None:
    receipts = Receipts(str(path), body_bytes=5)
    receipts.finished(exchange(), DELIVERED, answer(body), 0.1)
    receipts.close()
    assert [line["body"] for line in lines(path)] == [text]


def test_a_file_name_that_is_not_utf8_does_not_stop_the_receipts(receipts: Receipts, path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.ndjson")
    receipts.rejected(Rejection(1, "users.ndjson", 1, "first"))
    receipts.rejected(Rejection(2, name, 1, f"bad line in {name}"))
    receipts.left(Record(3, b"{}", name, 2), Outcome(State.UNSENT, "the run ended first"))
    receipts.close()
    assert [(line["source"], line["reason"]) for line in lines(path)] == [
        ("users.ndjson", "first"),
        ("caf?.ndjson", "bad line in caf?.ndjson"),
        ("caf?.ndjson", "the run ended first"),
    ]


def test_lines_are_written_by_64_kib_or_when_flushed(receipts: Receipts, path: Path) -> None:
    receipts.finished(exchange(1), DELIVERED, answer(b"x" * 1000), 0.1)
    assert path.stat().st_size == 0
    receipts.flush()
    line_bytes = path.stat().st_size
    assert len(lines(path)) == 1
    needed = -(-65536 // line_bytes)
    for _ in range(needed - 1):
        receipts.finished(exchange(1), DELIVERED, answer(b"x" * 1000), 0.1)
    assert path.stat().st_size == line_bytes
    receipts.finished(exchange(1), DELIVERED, answer(b"x" * 1000), 0.1)
    assert path.stat().st_size == line_bytes * (needed + 1)


def test_a_new_file_is_for_its_owner_only(path: Path) -> None:
    umask = os.umask(0)
    try:
        Receipts(str(path)).close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_emptied_once_something_is_to_be_written(path: Path) -> None:
    path.write_text("receipts of an earlier run\n" * 2)
    receipts = Receipts(str(path))
    assert path.read_text() == "receipts of an earlier run\n" * 2
    receipts.flush()
    assert path.read_bytes() == b""
    receipts.rejected(Rejection(1, "in.ndjson", 1, "invalid JSON"))
    receipts.close()
    assert [line["n"] for line in lines(path)] == [1]
    Receipts(str(path)).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("cut_off", [b"", b'{"n": 1, "outc', b"x" * 200_000])
@pytest.mark.parametrize("lines_before", [b"", b"1\n", b"1\n" + b"2" * 100_000 + b"\n"])
def test_what_is_there_stays_where_a_run_goes_on(path: Path, lines_before: bytes, cut_off: bytes) -> None:
    path.write_bytes(lines_before + cut_off)
    receipts = Receipts(str(path), continues=True)
    assert path.read_bytes() == lines_before + cut_off
    for number in (3, 4):
        receipts.finished(exchange(number), DELIVERED, answer(b"ok"), 0.1)
        receipts.flush()
    receipts.close()
    content = path.read_bytes()
    assert content.startswith(lines_before)
    assert [json.loads(line)["n"] for line in content[len(lines_before) :].splitlines()] == [3, 4]


def test_a_run_that_goes_on_may_be_the_first_to_write_receipts(path: Path) -> None:
    receipts = Receipts(str(path), continues=True)
    receipts.finished(exchange(3), DELIVERED, answer(b"ok"), 0.1)
    receipts.close()
    assert [line["n"] for line in lines(path)] == [3]


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("missing/receipts", "No such file or directory", "create its directory"),
        ("file/receipts", "Not a directory", "part of the path is a file"),
        (".", "Is a directory", "give the path of a file"),
        ("nul\0", "NUL", "give another path"),
    ],
)
def test_a_path_that_cannot_be_opened(tmp_path: Path, name: str, message: str, hint: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=message) as caught:
        Receipts(f"{tmp_path}/{name}")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "that you may write"),
        (errno.EROFS, "can be written"),
        (errno.EMFILE, "give another path"),
    ],
)
def test_a_path_that_may_not_be_opened(
    monkeypatch: pytest.MonkeyPatch, path: Path, number: int, hint: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigurationError, match=r"receipts\.ndjson") as caught:
        Receipts(str(path))
    assert hint in caught.value.hint


def test_a_full_disk_is_told_once_and_then_receipts_are_dropped() -> None:
    receipts = Receipts("/dev/full")
    receipts.finished(exchange(), DELIVERED, answer(b"ok"), 0.1)
    with pytest.raises(OutputError, match="'/dev/full': No space left on device") as caught:
        receipts.flush()
    assert caught.value.hint.startswith("make room")
    for number in range(1000):
        receipts.finished(exchange(number), DELIVERED, answer(b"x" * 100), 0.1)
    receipts.flush()
    receipts.close()
    assert receipts._buffer == b""


def test_a_failing_close_still_closes_the_file() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    receipts = Receipts("/dev/full")
    receipts.rejected(Rejection(1, "-", 1, "not JSON"))
    with pytest.raises(OutputError, match="No space left"):
        receipts.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    receipts.close()


def test_a_file_system_that_fails_only_on_closing(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    receipts = Receipts(str(path))
    close = os.close

    def over_quota(file: int) -> None:
        close(file)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "close", over_quota)
    with pytest.raises(OutputError, match="quota"):
        receipts.close()


def test_partial_writes_are_completed(
    monkeypatch: pytest.MonkeyPatch, receipts: Receipts, path: Path
) -> None:
    write: Callable[[int, bytes], int] = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:10]))
    for number in (1, 2):
        receipts.finished(exchange(number), DELIVERED, answer(b"ok"), 0.1)
    receipts.flush()
    assert [line["n"] for line in lines(path)] == [1, 2]


def test_standard_output_stays_open(capfd: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        receipts = Receipts("-")
        receipts.finished(exchange(number), DELIVERED, answer(b"ok"), 0.1)
        receipts.close()
    assert [json.loads(line)["n"] for line in capfd.readouterr().out.splitlines()] == [1, 2]


def test_standard_output_whose_reader_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        receipts = Receipts("-")
        receipts.finished(exchange(), DELIVERED, answer(b"ok"), 0.1)
        with pytest.raises(OutputError, match="standard output: Broken pipe") as caught:
            receipts.close()
    assert caught.value.hint == "the program that was reading them has ended"


def test_standard_output_made_non_blocking_by_someone_else(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    received = bytearray()

    def read() -> None:
        while data := os.read(read_end, 65536):
            received.extend(data)

    reader = threading.Thread(target=read)
    with open(write_end, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        receipts = Receipts("-")
        reader.start()
        for number in range(3000):
            receipts.finished(exchange(number), DELIVERED, answer(b"x" * 200), 0.1)
        receipts.close()
    reader.join()
    os.close(read_end)
    assert [json.loads(line)["n"] for line in received.splitlines()] == list(range(3000))


@pytest.mark.parametrize("stdout", [None, io.StringIO()])
def test_standard_output_that_is_closed(monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO | None) -> None:
    monkeypatch.setattr("sys.stdout", stdout)
    with pytest.raises(ConfigurationError, match="standard output is closed"):
        Receipts("-")
