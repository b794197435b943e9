from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.errors import OutputError
from livepost.mark import IN_DOUBT, REJECTED
from livepost.model import Record, Rejection
from livepost.runs.letter_reader import read_letters
from livepost.runs.letters import Letters, mend

NOW = datetime(2026, 11, 22, 16, 18, 26, 500_000, tzinfo=UTC)


def record(number: int = 1, body: bytes = b'{"a":1}') -> Record:
    return Record(number, body, "users.ndjson", number + 10)


@pytest.fixture
def letters(tmp_path: Path) -> Letters:
    return Letters(tmp_path, answer_bytes=10, now=lambda: NOW)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_rejected_record(letters: Letters, tmp_path: Path) -> None:
    letters.write(REJECTED, record(3), "status 422", attempts=1, status=422, answer=b'{"error":"name"}')
    letters.close()
    assert (tmp_path / "rejected.ndjson").read_text() == (
        '{"n":3,"source":"users.ndjson","line":13,"reason":"status 422","status":422,"attempts":1,'
        '"answer":"{\\"error\\":\\"","time":"2026-11-22T16:18:26.500000Z","record":{"a":1}}\n'
    )
    assert not (tmp_path / "in-doubt.ndjson").exists()


def test_a_record_in_doubt_has_its_own_file(letters: Letters, tmp_path: Path) -> None:
    letters.write(IN_DOUBT, record(), "connection reset", attempts=2)
    letters.close()
    (line,) = lines(tmp_path / "in-doubt.ndjson")
    assert (line["reason"], line["status"], line["answer"], line["attempts"]) == (
        "connection reset",
        None,
        None,
        2,
    )
    assert not (tmp_path / "rejected.ndjson").exists()


def test_what_was_never_fit_to_send_has_no_record(letters: Letters, tmp_path: Path) -> None:
    letters.write(REJECTED, Rejection(4, "users.ndjson", 5, "invalid JSON"), "invalid JSON", attempts=0)
    letters.write(REJECTED, record(5, b"null"), "status 400", attempts=1, status=400)
    letters.close()
    unfit, null = lines(tmp_path / "rejected.ndjson")
    assert "record" not in unfit
    assert null["record"] is None


@pytest.mark.parametrize(
    ("body", "embedded"),
    [
        (b'{"n":1.0e400,"a":1,"a":2}', b'{"n":1.0e400,"a":1,"a":2}'),
        (b'[123456789012345678901234567890, "\\ud800"]', b'[123456789012345678901234567890, "\\ud800"]'),
        (b'{\r\n "a":\n 1}', b'{   "a":  1}'),
        (b"[" * 5000 + b"]" * 5000, b"[" * 5000 + b"]" * 5000),
    ],
)
def test_the_record_is_embedded_as_it_is(
    letters: Letters, tmp_path: Path, body: bytes, embedded: bytes
) -> None:
    letters.write(REJECTED, record(1, body), "status 400", attempts=1)
    letters.close()
    content = (tmp_path / "rejected.ndjson").read_bytes()
    assert content.count(b"\n") == 1
    assert content.endswith(b',"record":' + embedded + b"}\n")
    assert [letter.body for letter in read_letters(tmp_path / "rejected.ndjson")] == [embedded]


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    value=json_texts, indent=st.none() | st.integers(0, 2), reason=st.text(), answer=st.binary() | st.none()
)
@settings(deadline=None)
def test_any_record_comes_back_with_the_same_meaning(
    tmp_path_factory: pytest.TempPathFactory,
    value: Any,
    indent: int | None,
    reason: str,
    answer: bytes | None,
) -> None:
    directory = tmp_path_factory.mktemp("run")
    letters = Letters(directory)
    body = json.dumps(value, indent=indent).encode()
    letters.write(IN_DOUBT, Record(7, body, 'odd, "record": {', 3), reason, attempts=1, answer=answer)
    letters.close()
    (found,) = read_letters(directory / "in-doubt.ndjson")
    assert (found.number, found.source, found.line) == (7, 'odd, "record": {', 3)
    assert found.body is not None
    assert json.loads(found.body) == value
    if b"\n" not in body:
        assert found.body == body


def test_names_that_are_not_utf8_do_not_stop_the_letters(letters: Letters, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    letters.write(REJECTED, Record(1, b"1", name, 1), f"bad {name}", attempts=1)
    letters.close()
    (line,) = lines(tmp_path / "rejected.ndjson")
    assert (line["source"], line["reason"], line["record"]) == ("caf?", "bad caf?", 1)


def test_letters_are_gathered_until_there_are_64_kib(letters: Letters, tmp_path: Path) -> None:
    letters.write(REJECTED, record(1, b'"' + b"x" * 30_000 + b'"'), "r", attempts=1)
    letters.write(IN_DOUBT, record(2), "d", attempts=1)
    assert list(tmp_path.iterdir()) == []
    assert letters.has_unwritten(1, 1)
    letters.write(REJECTED, record(3, b'"' + b"x" * 36_000 + b'"'), "r", attempts=1)
    assert [line["n"] for line in lines(tmp_path / "rejected.ndjson")] == [1, 3]
    assert [line["n"] for line in lines(tmp_path / "in-doubt.ndjson")] == [2]
    assert not letters.has_unwritten(1, 3)
    letters.close()


def test_unwritten_letters_are_known_by_their_numbers(letters: Letters) -> None:
    letters.write(REJECTED, record(5), "r", attempts=1)
    assert [letters.has_unwritten(*asked) for asked in ((1, 4), (1, 5), (5, 9), (6, 9))] == [
        False,
        True,
        True,
        False,
    ]
    letters.flush()
    assert not letters.has_unwritten(1, 9)
    letters.close()


@pytest.mark.usefixtures("no_mask")
def test_the_files_are_for_their_owner_only(letters: Letters, tmp_path: Path) -> None:
    letters.write(REJECTED, record(), "r", attempts=1)
    letters.close()
    assert (tmp_path / "rejected.ndjson").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_told_once_and_what_is_not_written_stays_known(
    letters: Letters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters.write(REJECTED, record(1), "r", attempts=1)
    letters.flush()

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    letters.write(REJECTED, record(2), "r", attempts=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="cannot be written any further: no space left on device"):
            letters.flush()
    letters.write(REJECTED, record(3), "r", attempts=1)
    letters.flush()
    letters.close()
    assert [line["n"] for line in lines(tmp_path / "rejected.ndjson")] == [1]
    assert [letters.has_unwritten(n, n) for n in (1, 2, 3)] == [False, True, True]


def test_closing_closes_the_files_also_when_the_disk_is_full(
    letters: Letters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters.write(REJECTED, record(1), "r", attempts=1)
    letters.flush()
    (file,) = letters._files.values()
    letters.write(REJECTED, record(2), "r", attempts=1)

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError):
        letters.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
    letters.close()


def test_a_directory_in_the_way_is_told(letters: Letters, tmp_path: Path) -> None:
    (tmp_path / "rejected.ndjson").mkdir()
    letters.write(REJECTED, record(1), "r", attempts=1)
    with pytest.raises(OutputError, match="is a directory"):
        letters.close()


@given(cut=st.integers(0, 400))
@settings(deadline=None)
def test_a_torn_line_is_taken_away_and_whole_ones_stay(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    path = directory / "rejected.ndjson"
    letters = Letters(directory)
    for number in (1, 2):
        letters.write(REJECTED, record(number, b'{"a":{"b":{}},"c":"}"}'), "r", attempts=1)
    letters.close()
    whole = path.read_bytes()
    first_line = whole.index(b"\n") + 1
    size = min(cut, len(whole))
    path.write_bytes(whole[:size])
    mend(path)
    if size >= len(whole) - 1:
        assert path.read_bytes() == whole
    elif size >= first_line - 1:
        assert path.read_bytes() == whole[:first_line]
    else:
        assert path.read_bytes() == b""


def test_a_torn_line_longer_than_what_is_read_at_once(letters: Letters, tmp_path: Path) -> None:
    path = tmp_path / "rejected.ndjson"
    letters.write(REJECTED, record(1), "r", attempts=1)
    letters.write(REJECTED, record(2, b'"' + b"x" * 200_000 + b'"'), "r", attempts=1)
    letters.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    mend(path)
    assert [line["n"] for line in lines(path)] == [1]


def test_there_may_be_nothing_to_mend(tmp_path: Path) -> None:
    mend(tmp_path / "rejected.ndjson")
    assert list(tmp_path.iterdir()) == []
