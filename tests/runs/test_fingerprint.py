from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.errors import InputChangedError, InputError
from livepost.runs.fingerprint import WHOLE_BYTES, Fingerprint, check_unchanged


def of(path: Path) -> Fingerprint:
    found = Fingerprint.of(str(path))
    assert found is not None
    return found


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.ndjson"
    path.write_bytes(b'{"n":1}\n' * 100)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.ndjson"
    path.write_bytes(b'{"n":1}\n' * (WHOLE_BYTES // 4))
    return path


def change(path: Path, place: int, *, keep_time: bool) -> None:
    """Another byte there, as far as the size of the file goes."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))


def test_an_untouched_file_is_the_same(small: Path, large: Path) -> None:
    for path in (small, large):
        assert of(path).difference(of(path)) is None
    check_unchanged([of(small), of(large)])


def test_the_path_is_absolute_and_the_file_is_found_from_elsewhere(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small.parent)
    found = Fingerprint.of("small.ndjson")
    assert found is not None
    assert found.path == str(small)
    monkeypatch.chdir("/")
    check_unchanged([found])


def test_a_file_of_another_size_is_another_file(small: Path) -> None:
    then = of(small)
    small.write_bytes(small.read_bytes() + b"1\n")
    with pytest.raises(InputChangedError) as raised:
        check_unchanged([then])
    assert str(raised.value) == f"{small} has 802 bytes, but had 800 when the run began"
    assert raised.value.hint == "put back the file that the run began with, or begin a new run"


@given(place=st.integers(0, 799))
@settings(deadline=None)
def test_every_byte_of_a_small_file_counts(tmp_path_factory: pytest.TempPathFactory, place: int) -> None:
    path = tmp_path_factory.mktemp("input") / "small"
    path.write_bytes(bytes(800))
    then = of(path)
    change(path, place, keep_time=True)
    assert then.difference(of(path)) == f"{path} has other content than when the run began"


@pytest.mark.parametrize("place", [0, 65_535, 65_536, 65_536 + 4095, -65_536, -65_537, -1])
def test_the_ends_and_samples_of_a_large_file_count(large: Path, place: int) -> None:
    then = of(large)
    change(large, place % then.size, keep_time=True)
    assert then.difference(of(large)) == f"{large} has other content than when the run began"


def test_a_change_between_the_samples_shows_in_the_time(large: Path) -> None:
    touch(large)
    then = of(large)
    change(large, 65_536 + 4096, keep_time=False)
    assert then.digest == of(large).digest
    with pytest.raises(
        InputChangedError, match=r"large.ndjson was changed at 2.* UTC, but when the run began"
    ) as raised:
        check_unchanged([then])
    assert raised.value.hint.endswith("touch -d '2023-11-14 22:13:20.123456789 UTC' FILE")


def test_the_time_that_the_hint_gives_makes_the_file_the_same_again(large: Path) -> None:
    touch(large)
    then = of(large)
    large.touch()
    with pytest.raises(InputChangedError) as raised:
        check_unchanged([then])
    command = raised.value.hint.partition("touch ")[2].replace("FILE", f"'{large}'")
    assert os.system(f"touch {command}") == 0
    check_unchanged([then])


def test_the_time_does_not_matter_where_every_byte_was_compared(small: Path) -> None:
    then = of(small)
    touch(small)
    assert then.difference(of(small)) is None
    check_unchanged([then])


def test_the_bound_between_small_and_large(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(WHOLE_BYTES))
    assert of(path).is_whole
    path.write_bytes(bytes(WHOLE_BYTES + 1))
    assert not of(path).is_whole
    then = of(path)
    change(path, WHOLE_BYTES, keep_time=True)
    assert then.digest != of(path).digest


def test_an_empty_file_has_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert of(tmp_path / "empty").size == 0


def test_what_cannot_be_read_twice_has_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert Fingerprint.of(str(tmp_path / "pipe")) is None
    assert Fingerprint.of("/dev/null") is None
    assert Fingerprint.of(str(tmp_path)) is None


def test_a_file_that_is_gone_is_told(small: Path) -> None:
    then = of(small)
    small.unlink()
    with pytest.raises(InputChangedError, match=r"small\.ndjson is not there any more"):
        check_unchanged([then])
    with pytest.raises(InputError, match=r"cannot read .*small\.ndjson: no such file or directory"):
        Fingerprint.of(str(small))


def test_a_file_that_became_a_pipe_is_told(small: Path) -> None:
    then = of(small)
    small.unlink()
    os.mkfifo(small)
    with pytest.raises(InputChangedError, match=r"small\.ndjson is not there any more"):
        check_unchanged([then])
