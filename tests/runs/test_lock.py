from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from livepost.errors import RunError
from livepost.runs.lock import RunLock, is_locked

HOLDER = """
import sys
from pathlib import Path
from livepost.runs.lock import RunLock
lock = RunLock.acquire(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_it_is_held_until_it_is_released(path: Path) -> None:
    assert not is_locked(path)
    lock = RunLock.acquire(path)
    assert is_locked(path)
    lock.release()
    lock.release()
    assert not is_locked(path)
    assert path.read_text() == f"{os.getpid()}\n"


def test_another_process_is_refused_by_name_until_the_first_is_killed(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert is_locked(path)
        with pytest.raises(RunError, match=f"is being worked on by process {holder.pid}$") as raised:
            RunLock.acquire(path)
        assert "livepost show" in raised.value.hint
        holder.send_signal(signal.SIGKILL)
    RunLock.acquire(path).release()


def test_who_only_looks_does_not_keep_others_from_it(path: Path) -> None:
    RunLock.acquire(path).release()
    stopped = threading.Event()

    def look() -> None:
        while not stopped.is_set():
            is_locked(path)

    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(200):
        RunLock.acquire(path).release()
    stopped.set()
    looker.join()


def test_a_lock_file_that_was_taken_away_is_no_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fchmod = os.fchmod

    def removed_meanwhile(file: int, mode: int) -> None:
        fchmod(file, mode)
        path.unlink()
        path.touch()

    monkeypatch.setattr(os, "fchmod", removed_meanwhile)
    with pytest.raises(RunError):
        RunLock.acquire(path)


@pytest.mark.usefixtures("full_mask")
def test_the_file_is_for_its_owner_only(path: Path) -> None:
    RunLock.acquire(path).release()
    assert path.stat().st_mode & 0o777 == 0o600
