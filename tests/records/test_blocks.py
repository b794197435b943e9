from __future__ import annotations

import gzip
import os
import select
import tracemalloc
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from livepost.errors import ConfigurationError, InputError
from livepost.records.blocks import BLOCK_BYTES, LARGEST_BLOCK_BYTES, InputFile, next_block_bytes


def lines(count: int) -> bytes:
    return b"".join(b'{"id": %d}\n' % number for number in range(count))


def write(path: Path, content: bytes) -> InputFile:
    path.write_bytes(content)
    return InputFile(str(path))


def content(file: InputFile) -> bytes:
    found = list(file.blocks())
    assert all(0 < len(block) <= BLOCK_BYTES for block in found)
    return b"".join(found)


def failure(file: InputFile) -> tuple[bytes, InputError]:
    """What was yielded before the error, and the error."""
    found = bytearray()
    reading = file.blocks()
    with pytest.raises(InputError) as caught:
        deque(map(found.extend, reading), maxlen=0)
    return bytes(found), caught.value


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def stdin() -> Iterator[int]:
    """Standard input is a pipe; the descriptor to write to it."""
    kept = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield writing
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        with suppress(OSError):
            os.close(writing)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7])
def test_file_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    file = write(tmp_path / "f", b"x" * size)
    assert file.check() == size
    assert content(file) == b"x" * size
    assert file.bytes_read == size


@pytest.mark.parametrize("start", [b"\x1f", b"\x1f\x8a", b"\x1f\x1f\x8b"])
def test_what_only_begins_like_gzip_passes_through(tmp_path: Path, start: bytes) -> None:
    assert content(write(tmp_path / "f", start)) == start
    assert content(write(tmp_path / "g", start + b"abc")) == start + b"abc"


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES])
@pytest.mark.parametrize("filling", [b"\0", b"varied"])
def test_gzip_is_decompressed_whatever_the_name(tmp_path: Path, size: int, filling: bytes) -> None:
    plain = b"\0" * size if filling == b"\0" else lines(size // 8)[:size]
    compressed = gzip.compress(plain)
    file = write(tmp_path / "f.ndjson", compressed)
    assert file.check() == len(compressed)
    assert content(file) == plain
    assert file.bytes_read == len(compressed)


@pytest.mark.parametrize("padding", [b"", b"\0" * 10, b"\0" * 300_000])
def test_gzip_members_are_joined(tmp_path: Path, padding: bytes) -> None:
    members = [gzip.compress(b'{"n": %d}\n' % number) + padding for number in range(3)]
    assert content(write(tmp_path / "f", b"".join(members))) == b'{"n": 0}\n{"n": 1}\n{"n": 2}\n'


def test_many_gzip_members(tmp_path: Path) -> None:
    assert content(write(tmp_path / "f", gzip.compress(b"1\n") * 5000)) == b"1\n" * 5000


def test_gzip_bomb_comes_in_bounded_blocks(tmp_path: Path) -> None:
    compressor = zlib.compressobj(wbits=31)
    megabyte = b" " * 2**20
    compressed = b"".join(compressor.compress(megabyte) for _ in range(64)) + compressor.flush()
    file = write(tmp_path / "f", compressed)
    del compressed
    tracemalloc.start()
    try:
        assert sum(map(len, file.blocks())) == 64 * 2**20
        assert tracemalloc.get_traced_memory()[1] < 8 * BLOCK_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compressed", [False, True])
def test_the_size_of_the_blocks_may_change_between_two(tmp_path: Path, compressed: bool) -> None:
    plain = b"\0" * (20 * BLOCK_BYTES)
    file = write(tmp_path / "f", gzip.compress(plain) if compressed else plain)
    found = []
    for block in file.blocks():
        found.append(block)
        file.block_bytes = BLOCK_BYTES * (1 + len(found) % 3)
    sizes = [len(block) // BLOCK_BYTES for block in found]
    assert sizes[:6] == ([1, 2, 3, 1, 2, 3])
    assert b"".join(found) == plain


@pytest.mark.parametrize(
    ("block_bytes", "records", "wanted"),
    [
        (BLOCK_BYTES, 330, 4 * BLOCK_BYTES),
        (BLOCK_BYTES, 750, 2 * BLOCK_BYTES),
        (4 * BLOCK_BYTES, 1_500, 4 * BLOCK_BYTES),
        (4 * BLOCK_BYTES, 3_000, 2 * BLOCK_BYTES),
        (BLOCK_BYTES, 32_768, BLOCK_BYTES),
        (BLOCK_BYTES, 0, LARGEST_BLOCK_BYTES),
        (17, 1, BLOCK_BYTES),
    ],
)
def test_blocks_are_as_large_as_it_takes_for_enough_records(
    block_bytes: int, records: int, wanted: int
) -> None:
    assert next_block_bytes(block_bytes, records) == wanted


def test_cut_gzip_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    plain = lines(40)
    compressed = gzip.compress(plain)
    found = b""
    for size in range(2, len(compressed)):
        found, error = failure(write(tmp_path / "f.gz", compressed[:size]))
        assert plain.startswith(found)
        assert str(error) == f"{tmp_path}/f.gz is cut short: it ends in the middle of its gzip data"
        assert error.hint == "copy or download it again"
    assert found == plain


@pytest.mark.parametrize("excess", [1, 100, 257])
def test_what_the_decompressor_holds_back_is_not_lost(tmp_path: Path, excess: int) -> None:
    plain = b"\0" * (BLOCK_BYTES + excess)
    trailer_bytes = 8
    found, _ = failure(write(tmp_path / "f.gz", gzip.compress(plain)[:-trailer_bytes]))
    assert found == plain


def test_damaged_gzip_gives_what_came_before(tmp_path: Path) -> None:
    compressed = bytearray(gzip.compress(os.urandom(300_000)))
    compressed[-8] ^= 1
    found, error = failure(write(tmp_path / "f.gz", bytes(compressed)))
    assert len(found) > 300_000 - BLOCK_BYTES
    assert str(error).startswith(f"{tmp_path}/f.gz is damaged: ")
    assert "gzip -t" in error.hint


def test_junk_behind_gzip_is_damage(tmp_path: Path) -> None:
    found, error = failure(write(tmp_path / "f.gz", gzip.compress(b"1\n") + b"junk"))
    assert found == b"1\n"
    assert "is damaged" in str(error)


@pytest.mark.parametrize("compressed", [False, True])
def test_closed_when_the_reader_stops_early(tmp_path: Path, compressed: bool) -> None:
    plain = b" " * (4 * BLOCK_BYTES)
    file = write(tmp_path / "f", gzip.compress(plain) if compressed else plain)
    before = open_descriptors()
    reading = file.blocks()
    next(reading)
    assert len(open_descriptors()) == len(before) + 1
    reading.close()
    assert open_descriptors() == before


def test_closed_after_the_end_and_after_an_error(tmp_path: Path) -> None:
    before = open_descriptors()
    content(write(tmp_path / "f", b"1\n"))
    failure(write(tmp_path / "g", b"\x1f\x8bjunk"))
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        (
            "missing",
            "no such file or directory",
            "check the name; relative names start at the working directory",
        ),
        ("", "is a directory", "name the files in it, as in DIRECTORY/*.ndjson"),
        ("file/below", "not a directory", "check the file and the disk it is on"),
        ("nul\0", "no file can have that name", "check the name"),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, name: str, message: str, hint: str) -> None:
    write(tmp_path / "file", b"")
    file = InputFile(os.path.join(tmp_path, name))
    with pytest.raises(ConfigurationError) as caught:
        file.check()
    assert str(caught.value) == f"cannot read {file.path}: {message}"
    assert caught.value.hint == hint
    found, error = failure(file)
    assert (found, str(error), error.hint) == (b"", str(caught.value), hint)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    file = write(tmp_path / "f", b"")
    os.chmod(file.path, 0)
    with pytest.raises(ConfigurationError, match="permission denied"):
        file.check()


def test_read_error_on_the_way() -> None:
    found, error = failure(InputFile("/proc/self/mem"))
    assert (found, str(error)) == (b"", "cannot read /proc/self/mem: input/output error")


def test_named_pipe_is_not_opened_to_check_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    # Opening it would wait for a writer.
    assert InputFile(str(path)).check() is None


def test_standard_input_gives_what_is_there(stdin: int) -> None:
    file = InputFile("-")
    assert file.check() is None
    os.write(stdin, b"1\n2")
    reading = file.blocks()
    assert next(reading) == b"1\n2"
    os.write(stdin, b"\n")
    assert next(reading) == b"\n"
    os.close(stdin)
    assert list(reading) == []
    assert file.bytes_read == 4
    os.fstat(0)


def test_standard_input_from_a_file_has_a_size(tmp_path: Path, stdin: int) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    assert InputFile("-").check() == 5


def test_a_file_is_the_same_by_whatever_name(tmp_path: Path, stdin: int) -> None:
    path, linked, other = (tmp_path / name for name in ("plain", "linked", "other"))
    path.write_bytes(b"1\n")
    linked.hardlink_to(path)
    other.write_bytes(b"1\n")
    descriptor = os.open(path, os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    names = (str(path), str(linked), "-", "/dev/stdin")
    inputs = [InputFile(name) for name in (*names, str(other))]
    for file in inputs:
        file.check()
    *same, different = [file.identity for file in inputs]
    assert len(set(same)) == 1
    assert different not in same


def test_standard_input_that_cannot_be_read(stdin: int) -> None:
    descriptor = os.open("/", os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    with pytest.raises(ConfigurationError, match="cannot read standard input: is a directory"):
        InputFile("-").check()
    os.close(0)
    with pytest.raises(ConfigurationError, match="cannot read standard input: bad file descriptor") as caught:
        InputFile("-").check()
    assert caught.value.hint == "it is closed; redirect a file or a pipe to it"


def test_non_blocking_standard_input_is_waited_for(stdin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = gzip.compress(b"1\n")
    arrivals = [compressed[:1], compressed[1:5], compressed[5:], b""]
    os.set_blocking(0, False)

    def arrive(*_: object) -> None:
        part = arrivals.pop(0)
        if part:
            os.write(stdin, part)
        else:
            os.close(stdin)

    monkeypatch.setattr(select, "select", arrive)
    assert content(InputFile("-")) == b"1\n"
    assert arrivals == []
