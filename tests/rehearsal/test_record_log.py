from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from livepost.errors import ConfigurationError, OutputError
from livepost.rehearsal.record_log import Entry, RecordLog, record_of

ENTRY = Entry(1.5, "a", '"k"', 2, 3, True, False, "late", 201)


@pytest.mark.parametrize(
    ("body", "record"),
    [
        (b'{"id": 17, "x": [1, {"id": 3}]}', 17),
        (b' {"x": 1, "id": "a b"} ', "a b"),
        (b'{"id": -1}', -1),
        (b'{"id": ""}', ""),
        (b'{"id": 0}', 0),
    ],
)
def test_a_record_is_known_by_its_id(body: bytes, record: int | str) -> None:
    assert record_of(body) == record


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"17",
        b'"id"',
        b'[{"id": 1}]',
        b'{"id": null}',
        b'{"id": 1.5}',
        b'{"id": true}',
        b'{"id": {"a": 1}}',
        b'{"id": 1} x',
        b'{"id": ' + b"9" * 5000 + b"}",
        b"\xff",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_record_without_one_is_known_by_its_digest(body: bytes) -> None:
    assert record_of(body) == "blake2b:" + hashlib.blake2b(body, digest_size=16).hexdigest()


def test_each_entry_is_a_line_that_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with RecordLog(str(path)) as log:
        log.write(ENTRY)
        assert json.loads(path.read_text()) == {
            "time": 1.5,
            "record": "a",
            "key": '"k"',
            "connection": 2,
            "request_on_connection": 3,
            "processed": True,
            "replayed": False,
            "fault": "late",
            "status": 201,
        }
        log.write(ENTRY)
        assert len(path.read_text().splitlines()) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_is_appended_to_even_by_two(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    with RecordLog(str(path)) as first, RecordLog(str(path)) as second:
        for log in (first, second, first):
            log.write(ENTRY)
    lines = path.read_text().splitlines()
    assert (lines[0], len(lines)) == ("before", 4)


@pytest.mark.parametrize("path", ["", "missing/log", "\0"])
def test_a_log_that_cannot_be_opened(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RecordLog(str(tmp_path / path))
    assert caught.value.hint


def test_a_full_disk_is_an_error() -> None:
    with RecordLog("/dev/full") as log, pytest.raises(OutputError, match="'/dev/full': No space left"):
        log.write(ENTRY)


def test_a_line_that_was_taken_in_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda file, data: len(data) - 1)
    with RecordLog(str(tmp_path / "log")) as log, pytest.raises(OutputError, match="only a part"):
        log.write(ENTRY)


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    log = RecordLog(str(tmp_path / "log"))
    log.close()
    log.close()
