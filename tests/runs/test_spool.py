from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from livepost.errors import OutputError, RunError
from livepost.model import Record, Rejection
from livepost.runs.spool import Spool

Item = Record | Rejection


def batch(first: int, last: int) -> list[Item]:
    return [Record(number, b"%d" % number * 10, "-", number) for number in range(first, last + 1)]


def nothing() -> None:
    pass


def names(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.segment"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(directory: Path) -> Spool:
    """Four batches of ten in three segments; the third is being written."""
    made = Spool.create(directory, segment_bytes=700)
    for first in (1, 11, 21, 31):
        made.append(batch(first, first + 9))
    return made


def test_what_was_appended_is_read_back(spool: Spool, directory: Path) -> None:
    assert names(directory) == [1, 21]
    spool.close()
    again = Spool.open(directory)
    assert again.last_number == 40
    assert [item for part in again.batches() for item in part] == batch(1, 40)
    assert again.bytes_read == again.bytes_total


@pytest.mark.usefixtures("no_mask")
def test_records_are_for_their_owner_only(directory: Path) -> None:
    spool = Spool.create(directory)
    spool.append(batch(1, 1))
    spool.close()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "000000000001.segment").stat().st_mode & 0o777 == 0o600


def test_a_batch_is_on_the_disk_when_append_returns(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fdatasync = os.fdatasync

    def note(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        fdatasync(file)

    monkeypatch.setattr(os, "fdatasync", note)
    spool = Spool.create(directory)
    spool.append(batch(1, 3))
    assert synced == [(directory / "000000000001.segment").stat().st_size]
    spool.close()


def test_a_segment_goes_when_all_its_records_are_settled(spool: Spool, directory: Path) -> None:
    calls = []

    def is_settled(first: int, last: int) -> bool:
        calls.append((first, last))
        return True

    spool.settle(is_settled, lambda: calls.append((0, len(names(directory)))))
    assert calls == [(1, 20), (21, 40), (0, 2)]
    assert names(directory) == [21]
    spool.close()
    spool.settle(lambda first, last: (first, last) == (21, 40), nothing)
    assert names(directory) == []
    assert spool.segments == 0


def test_the_last_segment_stays_as_long_as_there_is_another(spool: Spool, directory: Path) -> None:
    spool.close()
    spool.settle(lambda first, last: first == 21, nothing)
    assert names(directory) == [1, 21]
    again = Spool.open(directory)
    assert again.last_number == 40
    assert len(list(again.batches())) == 2
    again.settle(lambda first, last: first == 21, nothing)
    assert names(directory) == [1, 21]
    again.settle(lambda first, last: True, nothing)
    assert names(directory) == []


def test_a_slow_record_keeps_only_its_own_segment(directory: Path) -> None:
    spool = Spool.create(directory, segment_bytes=300)
    for first in range(1, 100, 10):
        spool.append(batch(first, first + 9))
        spool.settle(lambda first, last: not first <= 15 <= last, nothing)
    assert names(directory) == [11, 91]
    spool.close()
    again = Spool.open(directory)
    assert [item.number for part in again.batches() for item in part] == [*range(11, 21), *range(91, 101)]


def test_when_making_durable_fails_nothing_is_deleted(spool: Spool, directory: Path) -> None:
    def fail() -> None:
        raise OutputError("full")

    with pytest.raises(OutputError):
        spool.settle(lambda first, last: True, fail)
    assert names(directory) == [1, 21]
    spool.close()


def test_a_turn_tells_when_there_may_be_something_to_settle(directory: Path) -> None:
    spool = Spool.create(directory, segment_bytes=300)
    turns = []
    for first in (1, 11, 21):
        spool.append(batch(first, first + 9))
        turns.append(spool.turns)
    spool.close()
    assert [*turns, spool.turns] == [0, 1, 2, 3]
    again = Spool.open(directory)
    seen = []
    for _ in again.batches():
        again.settle(lambda first, last: True, nothing)
        seen.append((again.turns, len(names(directory))))
    again.settle(lambda first, last: True, nothing)
    assert seen == [(0, 3), (1, 2), (2, 1)]
    assert names(directory) == []


def test_a_segment_that_was_not_read_yet_is_not_given_up(spool: Spool, directory: Path) -> None:
    spool.close()
    again = Spool.open(directory)
    again.settle(lambda first, last: True, nothing)
    assert names(directory) == [1, 21]


def test_a_torn_batch_is_dropped(spool: Spool, directory: Path) -> None:
    path = directory / "000000000021.segment"
    path.write_bytes(path.read_bytes()[:-5])
    again = Spool.open(directory)
    assert again.last_number == 39
    assert [item.number for part in again.batches() for item in part] == list(range(1, 40))
    spool.close()


@pytest.mark.parametrize("damaged", [b'{"n":25', b'"bytes":20'])
def test_damage_to_the_last_segment_is_not_taken_for_the_end_of_it(
    spool: Spool, directory: Path, damaged: bytes
) -> None:
    spool.close()
    path = directory / "000000000021.segment"
    content = bytearray(path.read_bytes())
    place = content.index(damaged, content.index(b'{"n":24')) + len(damaged) - 1
    content[place] ^= 8
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"000000000021\.segment' is damaged behind record 2[34]$"):
        Spool.open(directory)


def test_a_record_that_looks_like_the_end_of_a_segment_is_none(directory: Path) -> None:
    spool = Spool.create(directory)
    spool.append([Record(1, b'{"end":9}', "-", 1)])
    assert Spool.open(directory).last_number == 1
    spool.close()
    assert Spool.open(directory).last_number == 1


@pytest.mark.parametrize("cut", [1, 5, 200])
def test_damage_to_an_earlier_segment_is_told(spool: Spool, directory: Path, cut: int) -> None:
    spool.close()
    path = directory / "000000000001.segment"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Spool.open(directory)
    seen: list[int] = []
    with pytest.raises(RunError, match=r"000000000001\.segment' is damaged behind record") as raised:
        seen.extend(item.number for part in again.batches() for item in part)
    assert str(raised.value).endswith(f" {seen[-1]}")
    assert seen == list(range(1, seen[-1] + 1))
    again.settle(lambda first, last: True, nothing)
    assert names(directory) == [1, 21]


def test_a_full_disk_keeps_what_there_was_and_tells_from_where_on_nothing_was(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (directory / "000000000021.segment").read_bytes()
    write = os.write

    def fill(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:100])

    spool._segment_bytes = 10_000
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill)
        with pytest.raises(OutputError, match="no space left on device") as raised:
            spool.append(batch(41, 50))
    assert "from record 41 (line 41) on was not kept" in raised.value.hint
    assert (directory / "000000000021.segment").read_bytes() == before
    assert spool.last_number == 40
    spool.close()
    assert Spool.open(directory).last_number == 40


def test_a_disk_that_is_full_before_the_first_record_leaves_nothing_to_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool.create(directory)

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OutputError):
            spool.append(batch(1, 2))
    spool.close()
    assert list(Spool.open(directory).batches()) == []
    assert Spool.open(directory).last_number == 0


def test_a_spool_of_which_nothing_is_left_knows_no_last_record(directory: Path) -> None:
    assert Spool.open(directory).last_number is None
    assert list(Spool.open(directory).batches()) == []


def test_a_strange_file_is_told(directory: Path) -> None:
    Spool.create(directory).close()
    (directory / "x.segment").touch()
    with pytest.raises(RunError, match="is no segment"):
        Spool.open(directory)


def test_batches_are_bounded(directory: Path) -> None:
    spool = Spool.create(directory)
    big: list[Item] = [Record(number, b'"' + b"x" * 30_000 + b'"', "-", number) for number in range(1, 8)]
    spool.append(big)
    spool.append([Record(number, b"1", "-", number) for number in range(8, 1500)])
    spool.close()
    sizes = [len(part) for part in Spool.open(directory).batches()]
    assert sizes == [3, 3, 500, 500, 493]
