from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.errors import ConfigurationError, OutputError, RunError
from livepost.mark import DELIVERED, IN_DOUBT, IN_FLIGHT, REJECTED, UNSENT, Mark
from livepost.runs import states as module
from livepost.runs.header import Header
from livepost.runs.marks import Counts
from livepost.runs.states import Recovery, States, current_boot_id, read_counts, reading_marks

RUN = "0b8f1c5e-8a52-4c0e-9d6e-0a8f6a3f1b11"
OTHER_RUN = "11111111-8a52-4c0e-9d6e-0a8f6a3f1b11"
PAGE = 4096


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "states"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def states(path: Path, clock: ManualClock) -> States:
    return States.create(path, RUN, boot_id="first", clock=clock)


def kill(states: States) -> None:
    """What the end of the process does: the kernel keeps what was stored, and nothing more is written."""
    os.close(states._file)
    states._file = -1


def reopen(path: Path, boot_id: str = "first", last_number: int | None = None) -> States:
    return States.open(path, RUN, boot_id=boot_id, last_number=last_number)


def refuse_allocation(number: int) -> Callable[[int, int, int], None]:
    def refuse(file: int, offset: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_record_is_one_letter_behind_the_first_page(states: States, path: Path) -> None:
    states.reserve(5)
    for number, mark in enumerate((IN_FLIGHT, DELIVERED, REJECTED, IN_DOUBT), 1):
        states.marks[number] = mark
    assert path.read_bytes()[PAGE : PAGE + 6] == b"FDRQ\0\0"
    assert states.counts() == Counts(1, 1, 1, 1)
    states.close()


def test_a_mark_is_in_the_file_at_once_and_survives_the_process(states: States, path: Path) -> None:
    states.reserve(3)
    states.marks[2] = IN_FLIGHT
    states.marks[3] = DELIVERED
    kill(states)
    again = reopen(path)
    assert again.recovery == Recovery(in_flight=1, unknown=0, restarted=False)
    assert list(again.ranges(Mark.IN_FLIGHT)) == [range(2, 3)]
    assert bytes(again.marks[1:4]) == b"\0FD"
    again.close()


@pytest.mark.usefixtures("no_mask")
def test_the_file_is_for_its_owner_only(path: Path) -> None:
    States.create(path, RUN).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_reserving_is_durable_before_it_returns(
    states: States, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    fdatasync = os.fdatasync

    def note(file: int) -> None:
        written.append(Header.from_page(path.read_bytes()[:PAGE]).reserved)
        fdatasync(file)

    monkeypatch.setattr(os, "fdatasync", note)
    states.reserve(300)
    assert written == [300]
    states.reserve(299)
    assert written == [300]
    states.close()


def test_steps_double_while_they_last_less_than_a_second(states: States, clock: ManualClock) -> None:
    seen = []
    for _ in range(12):
        states.reserve(states.reserved + 1)
        seen.append(states._step)
    assert seen == [0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 65536, 65536]
    clock.now = 5.0
    states.reserve(states.reserved + 1)
    assert states._step == 32768
    for second in range(6, 30):
        clock.now = float(second)
        states.reserve(states.reserved + 1)
    assert states._step == 0
    states.close()


def test_a_slow_input_reserves_no_more_than_it_reads(states: States, clock: ManualClock) -> None:
    for number in range(1, 6):
        clock.now += 1.0
        states.reserve(number)
        assert states.reserved == number
    states.close()


def test_marks_stay_where_they_are_as_the_file_grows(states: States, path: Path) -> None:
    states.reserve(1)
    old = states.marks
    old[1] = IN_FLIGHT
    states.reserve(200_000)
    assert states.marks is not old
    assert states.marks[1] == IN_FLIGHT
    old[1] = DELIVERED
    assert states.marks[1] == DELIVERED
    states.marks[200_000] = DELIVERED
    assert path.stat().st_size == PAGE + 4 * 65536
    states.close()


def test_the_file_has_no_holes(states: States, path: Path) -> None:
    states.reserve(1_000_000)
    status = path.stat()
    assert status.st_blocks * 512 >= status.st_size
    states.close()


def test_a_copy_with_holes_is_filled_when_it_is_opened(states: States, path: Path) -> None:
    states.reserve(1_000_000)
    states.close()
    content = path.read_bytes()
    path.unlink()
    with path.open("wb") as file:
        file.write(content[:PAGE])
        file.truncate(len(content))
    assert path.stat().st_blocks * 512 < len(content)
    reopen(path).close()
    assert path.stat().st_blocks * 512 >= len(content)


def test_one_thread_marks_while_another_makes_room(states: States) -> None:
    last = 300_000
    batches: SimpleQueue[range | None] = SimpleQueue()

    def read() -> None:
        for first in range(1, last + 1, 300):
            states.reserve(first + 299)
            batches.put(range(first, first + 300))
        batches.put(None)

    reader = threading.Thread(target=read)
    reader.start()
    while (batch := batches.get()) is not None:
        for number in batch:
            states.marks[number] = IN_FLIGHT
            states.marks[number] = DELIVERED
    reader.join()
    assert states.counts() == Counts(delivered=last)
    states.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_before_records_are_handed_over(
    states: States, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    states.reserve(10)
    states.marks[10] = DELIVERED
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse_allocation(number))
        with pytest.raises(OutputError, match="cannot be written any further") as raised:
            states.reserve(100_000)
    assert "make room" in raised.value.hint
    assert states.reserved == 10
    states.marks[9] = DELIVERED
    states.close()
    again = reopen(path)
    assert again.counts() == Counts(delivered=2)
    again.reserve(100_000)
    again.marks[100_000] = DELIVERED
    again.close()


def test_a_full_disk_at_the_start_is_an_error_before_anything_is_sent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse_allocation(errno.ENOSPC))
    with pytest.raises(ConfigurationError, match="cannot be made: no space left") as raised:
        States.create(path, RUN)
    assert "another disk" in raised.value.hint


def test_a_real_limit_on_the_size_of_a_file_ends_the_run_in_order(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from livepost.errors import OutputError
from livepost.runs.states import States
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
states = States.create(Path(sys.argv[1]), sys.argv[2])
number = 0
try:
    while True:
        number += 500
        states.reserve(number)
        states.marks[number] = 68
except OutputError as error:
    print(error.hint)
states.close()
"""
    shown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "states"), RUN], capture_output=True, text=True
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "ulimit -f" in shown.stdout
    again = States.open(tmp_path / "states", RUN)
    assert again.counts().delivered > 100
    again.close()


def test_where_the_system_cannot_allocate_zeros_are_written(
    path: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse_allocation(errno.EOPNOTSUPP))
    states.reserve(100_000)
    states.marks[100_000] = DELIVERED
    assert path.stat().st_blocks * 512 >= path.stat().st_size == PAGE + 2 * 65536
    kill(states)
    again = reopen(path)
    assert again.counts() == Counts(delivered=1)
    again.close()


def test_after_a_power_cut_all_that_was_reserved_may_have_been_sent(path: Path, states: States) -> None:
    states.reserve(10)
    states.marks[1] = DELIVERED
    states.marks[2] = IN_FLIGHT
    older_copy = path.read_bytes()
    for number in range(2, 8):
        states.marks[number] = DELIVERED
    kill(states)
    path.write_bytes(older_copy)
    again = reopen(path, "second")
    assert again.recovery == Recovery(in_flight=1, unknown=8, restarted=True)
    assert list(again.ranges(Mark.IN_FLIGHT)) == [range(2, 11)]
    assert again.counts() == Counts(in_flight=9, delivered=1)
    kill(again)
    third = reopen(path, "second")
    assert third.recovery == Recovery(in_flight=9)
    third.close()


@given(
    moves=st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from((IN_FLIGHT, DELIVERED, REJECTED, IN_DOUBT))),
        max_size=60,
    ),
    reserved=st.integers(40, 60),
    cut=st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_no_power_cut_lets_a_record_that_was_sent_pass_for_unsent(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int]], reserved: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "states"
    states = States.create(path, RUN, boot_id="first", clock=ManualClock())
    states.reserve(reserved)
    copy = path.read_bytes()
    for index, (number, mark) in enumerate(moves):
        states.marks[number] = mark
        if index == cut:
            copy = path.read_bytes()
    kill(states)
    path.write_bytes(copy)
    again = reopen(path, "second")
    assert all(again.marks[number] != UNSENT for number, _ in moves)
    assert all(again.marks[number] == UNSENT for number in range(reserved + 1, 100))
    again.close()


def test_a_power_cut_while_recovering_is_recovered_from(
    path: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    states.reserve(10)
    states.marks[1] = DELIVERED
    kill(states)

    def cut(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", cut)
        with pytest.raises(OutputError):
            reopen(path, "second")
    again = reopen(path, "third")
    assert again.recovery == Recovery(in_flight=9, unknown=0, restarted=True)
    assert again.counts() == Counts(in_flight=9, delivered=1)
    again.close()


def test_a_run_that_was_closed_in_order_has_nothing_unknown_after_a_restart(
    path: Path, states: States
) -> None:
    states.reserve(10)
    states.marks[1] = DELIVERED
    states.close()
    again = reopen(path, "second")
    assert again.recovery == Recovery()
    kill(again)
    third = reopen(path, "third")
    assert third.recovery == Recovery(unknown=9, restarted=True)
    third.close()


def test_where_boots_have_no_name_every_crash_counts_as_a_power_cut(path: Path) -> None:
    states = States.create(path, RUN, boot_id="unknown", clock=ManualClock())
    states.reserve(2)
    kill(states)
    again = reopen(path, "unknown")
    assert again.recovery == Recovery(unknown=2, restarted=True)
    again.close()


def test_the_boot_has_a_name_here_and_none_where_the_system_gives_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(current_boot_id()) == 36
    monkeypatch.setattr(module, "_BOOT_ID", Path("/no/such/file"))
    assert current_boot_id() == "unknown"


def test_the_end_of_the_input_takes_the_rest_of_the_reservation_back(path: Path, states: States) -> None:
    states.reserve(10)
    states.marks[3] = DELIVERED
    kill(states)
    again = reopen(path, "second")
    assert again.counts() == Counts(in_flight=9, delivered=1)
    again.end_at(4)
    assert (again.reserved, again.counts()) == (4, Counts(in_flight=3, delivered=1))
    kill(again)
    third = reopen(path, "second")
    assert third.recovery == Recovery(in_flight=3)
    third.close()


def test_when_it_is_known_which_record_is_the_last_none_behind_it_is_in_doubt(
    path: Path, states: States
) -> None:
    states.reserve(10)
    kill(states)
    again = reopen(path, "second", last_number=4)
    assert again.recovery == Recovery(unknown=4, restarted=True)
    assert again.reserved == 4
    again.close()


def test_nor_is_there_a_last_record_before_one_that_was_handed_over(path: Path, states: States) -> None:
    states.reserve(10)
    states.marks[7] = IN_FLIGHT
    kill(states)
    with pytest.raises(RunError, match="ends after 6 records, but record 7 had been dealt with"):
        reopen(path, "second", last_number=6)
    again = reopen(path, "second", last_number=7)
    assert again.recovery == Recovery(in_flight=1, unknown=6, restarted=True)
    again.close()


def test_an_input_that_ends_before_what_was_delivered_is_another_one(states: States) -> None:
    states.reserve(10)
    states.marks[7] = DELIVERED
    with pytest.raises(RunError, match="ends after 6 records, but record 7 had been dealt with"):
        states.end_at(6)
    assert states.reserved == 10
    states.end_at(7)
    states.close()


def test_a_released_record_may_have_been_sent_if_the_power_fails(path: Path, states: States) -> None:
    states.reserve(5)
    states.marks[2] = states.marks[3] = REJECTED
    states.release([3])
    assert bytes(states.marks[1:4]) == b"\0R\0"
    older_copy = path.read_bytes()
    states.marks[3] = IN_FLIGHT
    kill(states)
    path.write_bytes(older_copy)
    again = reopen(path, "second")
    assert bytes(again.marks[1:6]) == b"FRFFF"
    again.close()


@pytest.mark.parametrize(
    ("marks", "settled"),
    [(b"DRQ", True), (b"DFD", False), (b"D\0D", False), (b"", True), (b"D", True)],
)
def test_records_are_settled_when_all_have_their_final_mark(
    states: States, marks: bytes, settled: bool
) -> None:
    states.reserve(10)
    states.marks[2 : 2 + len(marks)] = marks
    assert states.is_settled(2, 1 + len(marks)) is settled
    states.close()


def test_after_closing_nothing_can_be_marked_and_nothing_counts_as_settled(states: States) -> None:
    states.reserve(1)
    states.marks[1] = DELIVERED
    states.close()
    states.close()
    with pytest.raises(IndexError):
        states.marks[1] = DELIVERED
    assert not states.is_settled(1, 1)
    with pytest.raises(OutputError):
        states.reserve(2)


def test_counts_can_be_read_while_another_process_marks(states: States, path: Path) -> None:
    states.reserve(3)
    states.marks[1] = DELIVERED
    assert read_counts(path, RUN) == Counts(delivered=1)
    states.marks[2] = IN_FLIGHT
    assert read_counts(path, RUN) == Counts(in_flight=1, delivered=1)
    states.close()


def test_a_file_that_was_cut_short_is_not_counted(states: States, path: Path) -> None:
    states.reserve(300)
    states.close()
    os.truncate(path, 4096 + 100)
    with pytest.raises(RunError, match="it is cut short: it has room for 100 records of"):
        read_counts(path, RUN)


def test_single_marks_can_be_read(states: States, path: Path) -> None:
    states.reserve(3)
    states.marks[2] = DELIVERED
    states.close()
    with reading_marks(path, RUN) as mark_of:
        assert [mark_of(number) for number in (1, 2, 3, 100_000)] == [UNSENT, DELIVERED, UNSENT, UNSENT]
    with pytest.raises(RunError, match="no such file"), reading_marks(path.with_name("none"), RUN):
        pass
    with pytest.raises(RunError, match="belongs to another run"), reading_marks(path, RUN[::-1]):
        pass


def test_a_header_that_is_just_being_written_is_read_again(
    states: States, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread, calls = os.pread, 0

    def torn_twice(file: int, size: int, offset: int) -> bytes:
        nonlocal calls
        calls += 1
        page = pread(file, size, offset)
        return page[:100] + b"x" + page[101:] if calls <= 2 else page

    monkeypatch.setattr(os, "pread", torn_twice)
    assert read_counts(path, RUN) == Counts()
    assert calls == 3
    states.close()


def a_used_file(path: Path) -> bytes:
    states = States.create(path, RUN, boot_id="first", clock=ManualClock())
    states.reserve(50)
    states.marks[1:51] = b"D" * 40 + b"F" * 10
    kill(states)
    return path.read_bytes()


@given(
    place=st.one_of(st.integers(0, PAGE - 1), st.integers(PAGE, PAGE + 60), st.integers(PAGE, PAGE + 65535)),
    bits=st.integers(1, 255),
)
@settings(deadline=None)
def test_damage_to_any_byte_is_refused_unless_it_makes_another_mark(
    tmp_path_factory: pytest.TempPathFactory, place: int, bits: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "states"
    content = bytearray(a_used_file(path))
    content[place] ^= bits
    path.write_bytes(content)
    if PAGE <= place < PAGE + 50 and content[place] in b"\0FDRQ":
        reopen(path).close()
        return
    with pytest.raises(RunError, match="cannot be used") as raised:
        reopen(path)
    assert "restore it" in raised.value.hint
    assert path.read_bytes() == content


@given(
    size=st.one_of(st.integers(0, PAGE + 49), st.sampled_from((0, 1, 511, 512, PAGE - 1, PAGE, PAGE + 49)))
)
@settings(deadline=None)
def test_a_file_that_is_cut_short_is_refused(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("run") / "states"
    content = a_used_file(path)[:size]
    path.write_bytes(content)
    with pytest.raises(RunError, match="cannot be used: it is cut short"):
        reopen(path)
    assert path.read_bytes() == content


def test_a_file_cut_behind_what_was_reserved_has_lost_nothing(path: Path) -> None:
    content = a_used_file(path)
    path.write_bytes(content[: PAGE + 50])
    again = reopen(path)
    assert again.counts() == Counts(in_flight=10, delivered=40)
    again.reserve(51)
    again.marks[51] = DELIVERED
    again.close()


@pytest.mark.parametrize(
    ("place", "byte", "why"),
    [
        (PAGE + 4, b"x", "what it holds for record 5 has no meaning"),
        (PAGE + 50, b"D", "record 51 bears a mark, but none above 50 was sent"),
        (0, b"x", "its first lines are not those of such a file"),
        (150, b"x", "its first page is damaged"),
    ],
)
def test_damage_is_named(path: Path, place: int, byte: bytes, why: str) -> None:
    content = a_used_file(path)
    path.write_bytes(content[:place] + byte + content[place + 1 :])
    with pytest.raises(RunError) as raised:
        reopen(path)
    assert str(raised.value) == f"{str(path)!r} cannot be used: {why}"


def test_the_file_of_another_run_is_refused(states: States, path: Path) -> None:
    states.close()
    with pytest.raises(RunError, match="belongs to another run"):
        States.open(path, OTHER_RUN)


def test_no_file_is_an_error_for_people(path: Path) -> None:
    with pytest.raises(RunError, match="no such file or directory"):
        States.open(path, RUN)


def test_ten_million_records_are_gone_through_in_little_memory(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from livepost.runs.marks import Mark
from livepost.runs.states import States
last = 10_000_000
states = States.create(Path(sys.argv[1]), sys.argv[2], boot_id="first")
states.reserve(last)
for start in range(1, last, 100_000):
    states.marks[start : start + 100_000] = b"D" * 99_000 + bytes(500) + b"F" * 500
del states
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
states = States.open(Path(sys.argv[1]), sys.argv[2], boot_id="second")
print(states.counts().in_flight, sum(map(len, states.ranges(Mark.IN_FLIGHT))))
states.close()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    shown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "states"), RUN],
        capture_output=True,
        text=True,
        check=True,
    )
    counts, more_kib = shown.stdout.splitlines()
    assert counts.split() == ["100000", "100000"]
    assert int(more_kib) < 4096
