from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from livepost.errors import RunError
from livepost.runs.fingerprint import Fingerprint
from livepost.runs.manifest import Ended, Manifest

CREATED = datetime(2026, 11, 22, 16, 18, 26, tzinfo=UTC)
MANIFEST = Manifest(
    id=UUID("0b8f1c5e-8a52-4c0e-9d6e-0a8f6a3f1b11"),
    livepost="0.1.0",
    created=CREATED,
    asked={"target": "http://localhost/api", "limits": {"connections": 64}},
    inputs=(Fingerprint("/data/users.ndjson", 10, 20, "abc"),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.json"


def test_it_reads_back_what_was_written(path: Path) -> None:
    MANIFEST.write(path)
    assert Manifest.read(path) == MANIFEST
    ended = replace(MANIFEST, records=7, keeps_input=True, ended=Ended(CREATED, "stopped", {"delivered": 3}))
    ended.write(path)
    assert Manifest.read(path) == ended


def test_it_is_for_people_too(path: Path) -> None:
    replace(MANIFEST, asked={"name": "用户"}).write(path)
    text = path.read_text("utf-8")
    assert text.startswith('{\n "format": 1,\n "id": "0b8f1c5e-')
    assert '"created": "2026-11-22T16:18:26Z"' in text
    assert "用户" in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(asked=st.dictionaries(st.text(), json_values, max_size=5))
@settings(deadline=None, max_examples=50)
def test_whatever_was_asked_comes_back(
    tmp_path_factory: pytest.TempPathFactory, asked: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("run") / "run.json"
    replace(MANIFEST, asked=asked).write(path)
    assert Manifest.read(path).asked == asked


def test_a_file_name_that_is_not_utf8_comes_back(path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.ndjson")
    manifest = replace(MANIFEST, asked={"files": [name]}, inputs=(Fingerprint(name, 1, 2, "abc"),))
    manifest.write(path)
    assert Manifest.read(path) == manifest


def test_no_file_is_an_error_for_people(path: Path) -> None:
    with pytest.raises(RunError, match="no such file or directory") as raised:
        Manifest.read(path)
    assert raised.value.hint == "list the runs with livepost runs"


@given(size=st.integers(0, 500))
@settings(deadline=None)
def test_a_file_that_is_cut_short_is_damaged(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("run") / "run.json"
    MANIFEST.write(path)
    content = path.read_bytes()
    path.write_bytes(content[: min(size, len(content) - 2)])
    with pytest.raises(RunError, match="is damaged"):
        Manifest.read(path)


@given(place=st.integers(0, 500), bits=st.integers(1, 255))
@settings(deadline=None)
def test_a_changed_byte_is_damage_or_another_value(
    tmp_path_factory: pytest.TempPathFactory, place: int, bits: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "run.json"
    MANIFEST.write(path)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[place % len(content)] ^= bits
    path.write_bytes(changed)
    try:
        found = Manifest.read(path)
    except RunError:
        return
    assert found != MANIFEST or content.split() == changed.split()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "is damaged"),
        (b"{}", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b'{"format": 2, "another": "schema"}', "was written by a newer livepost \\(format 2\\)"),
        (json.dumps({"format": "1"}).encode(), "is damaged"),
    ],
)
def test_what_is_no_manifest_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        Manifest.read(path)


def test_an_older_format_is_refused(path: Path) -> None:
    replace(MANIFEST, format=0).write(path)
    with pytest.raises(RunError, match="has the unknown format 0"):
        Manifest.read(path)
