from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from livepost.errors import ConfigurationError, OutputError, RunError
from livepost.runs.disk import (
    make_private,
    open_private,
    reading,
    replace_file,
    starting,
    sync_file,
    write_all,
    writing,
)


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.usefixtures("no_mask")
def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    make_private(tmp_path / "run")
    os.close(open_private(tmp_path / "file", os.O_WRONLY))
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("full_mask")
def test_a_strict_umask_does_not_lock_the_owner_out(tmp_path: Path) -> None:
    make_private(tmp_path / "run")
    os.close(open_private(tmp_path / "run" / "file", os.O_WRONLY))
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run" / "file").stat().st_mode & 0o777 == 0o600


def test_what_was_open_to_others_is_shut(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(0o755)
    (tmp_path / "file").touch(0o644)
    make_private(tmp_path / "run")
    os.close(open_private(tmp_path / "file", os.O_WRONLY))
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_replaced_file_holds_the_new_content_and_nothing_else_is_left(tmp_path: Path) -> None:
    replace_file(tmp_path / "run.json", b"old" * 1000)
    replace_file(tmp_path / "run.json", b"new")
    assert (tmp_path / "run.json").read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_failed_replacement_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "run.json", b"old")

    def full(file: int) -> None:
        raise error(errno.ENOSPC)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(tmp_path / "run.json", b"new")
    assert (tmp_path / "run.json").read_bytes() == b"old"


def test_write_all_goes_on_after_a_short_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data[:3])))
    file = open_private(tmp_path / "file", os.O_WRONLY)
    write_all(file, b"0123456789")
    os.close(file)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_syncing_a_file_that_is_not_there_is_nothing_to_do(tmp_path: Path) -> None:
    sync_file(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (errno.ENOSPC, "no space left on device", "another disk"),
        (errno.EDQUOT, "disk quota exceeded", "another disk"),
        (errno.EROFS, "read-only file system", "--no-run"),
        (errno.EACCES, "permission denied", "--no-run"),
        (errno.EIO, "input/output error", "--no-run"),
    ],
)
def test_an_error_at_the_start_says_what_to_do(number: int, words: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as raised, starting(Path("a/run")):
        raise error(number)
    assert str(raised.value) == f"the run directory 'a/run' cannot be made: {words}"
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "make room"), (errno.EFBIG, "ulimit"), (errno.EIO, "check the disk")],
)
def test_an_error_on_the_way_says_that_the_run_can_be_resumed(number: int, hint: str) -> None:
    with (
        pytest.raises(OutputError, match="'a/run' cannot be written any further") as raised,
        writing(Path("a/run")),
    ):
        raise error(number)
    assert hint in raised.value.hint
    assert "livepost resume" in raised.value.hint


def test_an_error_on_reading_names_the_file() -> None:
    with (
        pytest.raises(RunError, match=r"'a/run\.json': no such file or directory") as raised,
        reading(Path("a/run.json")),
    ):
        raise error(errno.ENOENT)
    assert raised.value.hint == "list the runs with livepost runs"
