from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.wire.chunked import CHUNK_LINE_BYTES_LIMIT, ChunkedReader
from livepost.wire.message import Fields
from livepost.wire.response_head import HEAD_BYTES_LIMIT, ProtocolError

WHOLE = b"5\r\nhello\r\n006;a=b;c\r\n world\r\nA \t;\r\n0123456789\r\n0\r\nX-Sum: 7\r\nY:\r\n\r\n"
WHOLE_BODY = b"hello world0123456789"
WHOLE_TRAILERS = ((b"x-sum", b"7"), (b"y", b""))


def read(*pieces: bytes) -> ChunkedReader:
    reader = ChunkedReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def result(reader: ChunkedReader) -> tuple[bool, bytes, Fields, bytes]:
    return reader.is_complete, bytes(reader.body), reader.trailers, reader.rest


def failure(pieces: list[bytes]) -> tuple[str, bytes]:
    """What is said of a stream that must fail, and the body that came before."""
    reader = ChunkedReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except ProtocolError as error:
        assert not reader.is_complete
        return str(error), bytes(reader.body)
    pytest.fail("nothing was found wrong")


def test_nothing_yet() -> None:
    assert result(ChunkedReader()) == (False, b"", (), b"")


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_any_cut_in_two_gives_the_same(cut: int) -> None:
    reader = read(WHOLE[:cut])
    assert reader.is_complete is (cut == len(WHOLE))
    assert WHOLE_BODY.startswith(reader.body)
    reader.feed(WHOLE[cut:])
    assert result(reader) == (True, WHOLE_BODY, WHOLE_TRAILERS, b"")


@settings(deadline=None)
@given(st.lists(st.integers(0, len(WHOLE))))
def test_any_cuts_give_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in itertools.pairwise(edges)]
    assert result(read(*pieces)) == (True, WHOLE_BODY, WHOLE_TRAILERS, b"")


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 9), st.booleans())
def test_any_body_in_any_chunks(chunks: list[bytes], size: int, upper: bool) -> None:
    form = b"%X\r\n%b\r\n" if upper else b"%x\r\n%b\r\n"
    data = b"".join(form % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert result(read(*in_pieces(data, size))) == (True, b"".join(chunks), (), b"")


@pytest.mark.parametrize(
    "last", [b"0\r\n", b"000\r\n", b"0;last\r\n", b"0 ; a = b\r\n", b"000000000000000\r\n"]
)
def test_last_chunks(last: bytes) -> None:
    assert result(read(last + b"\r\n")) == (True, b"", (), b"")


@pytest.mark.parametrize("line", [b"3", b"03", b"3;", b"3;a", b'3;a="b"', b"3 \t;a", b"3 ", b"3;\t\xff"])
def test_size_lines(line: bytes) -> None:
    assert result(read(line + b"\r\nabc\r\n0\r\n\r\n")) == (True, b"abc", (), b"")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" 3",
        b"\t3",
        b"+3",
        b"-3",
        b"0x3",
        b"3h",
        b"3_0",
        b"g",
        b"\xb3",
        b"3 a",
        b"3;a\n",
        b"3;\ra",
        b"3;\x00",
        b"3\n",
        b"3\nabc\n0\n",
        b"3\r",
        b"1000000000000000",
        b"0000000000000003",
        b"f" * 60,
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_malformed_size_lines(line: bytes, size: int) -> None:
    said, body = failure(in_pieces(b"2\r\nok\r\n" + line + b"\r\nabc\r\n0\r\n\r\n", size))
    assert said == f"malformed chunk size {line[:24]!r}"
    assert body == b"ok"


@pytest.mark.parametrize("behind", [b"d\r\n", b"\rd", b"\nd", b"\n\r", b"\r\r", b"0\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_what_follows_a_chunk_is_its_line_end(behind: bytes, size: int) -> None:
    assert failure(in_pieces(b"3\r\nabc" + behind, size)) == ("a chunk is longer than it says", b"abc")


@pytest.mark.parametrize("digits", [15, 14, 8])
def test_a_huge_chunk_is_read_as_it_comes(digits: int) -> None:
    reader = read(b"f" * digits + b"\r\n", b"x" * 1_000, b"y" * 1_000)
    assert result(reader) == (False, b"x" * 1_000 + b"y" * 1_000, (), b"")
    assert len(reader._buffer) == 0


def test_the_longest_size_line() -> None:
    extension = b"a" * (CHUNK_LINE_BYTES_LIMIT - len(b"3;\r\n"))
    line = b"3;" + extension + b"\r\n"
    assert len(line) == CHUNK_LINE_BYTES_LIMIT
    for size in (1, 7, 10_000):
        assert result(read(*in_pieces(line + b"abc\r\n" + line[:-2] + b"\r\nabc\r\n0\r\n\r\n", size))) == (
            True,
            b"abcabc",
            (),
            b"",
        )
    longer = b"3;a" + extension + b"\r\n"
    for size in (1, 7, 10_000):
        assert failure(in_pieces(b"2\r\nok\r\n" + longer, size)) == ("a chunk's size line is too long", b"ok")


def test_a_line_without_end_is_given_up_at_the_limit() -> None:
    reader = read(b"3;" + b"a" * (CHUNK_LINE_BYTES_LIMIT - 3))
    with pytest.raises(ProtocolError, match="size line is too long"):
        reader.feed(b"a")


def test_the_longest_trailers() -> None:
    trailers = b"A: " + b"b" * (HEAD_BYTES_LIMIT - len(b"A: \r\n\r\n")) + b"\r\n\r\n"
    assert len(trailers) == HEAD_BYTES_LIMIT
    expected = (True, b"", ((b"a", trailers[3:-4]),), b"rest")
    for size in (999, 100_000):
        assert result(read(b"0\r\n", *in_pieces(trailers, size), b"rest"))[:3] == expected[:3]
    assert result(read(b"0\r\n" + trailers + b"rest")) == expected
    for size in (999, 100_000):
        assert failure(in_pieces(b"0\r\nA: b" + trailers[3:], size))[0] == "trailers are too long"


@pytest.mark.parametrize("trailers", [b"no colon", b"A : b", b" folded", b"A: b\r\nC: \x00", b": b"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_malformed_trailers(trailers: bytes, size: int) -> None:
    said, body = failure(in_pieces(b"2\r\nok\r\n0\r\n" + trailers + b"\r\n\r\n", size))
    assert said.startswith("malformed header line")
    assert body == b"ok"


def test_trailers_may_be_folded() -> None:
    assert read(b"0\r\nA: b\r\n c\r\n\r\n").trailers == ((b"a", b"b c"),)


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n"])
def test_what_comes_behind_the_end_is_handed_back(end: bytes) -> None:
    assert read(b"1\r\nx\r\n" + end + b"HTTP/1.1 200 OK\r\n\r\n").rest == b"HTTP/1.1 200 OK\r\n\r\n"
    assert read(b"1\r\nx\r\n" + end).rest == b""


def test_a_line_end_without_cr_ends_nothing() -> None:
    assert not read(b"0\r\n\n").is_complete
    assert not read(b"0\n\n").is_complete
    assert not read(b"0\r\n\r").is_complete


def test_only_what_is_unfinished_is_buffered() -> None:
    reader = ChunkedReader()
    for _ in range(200):
        reader.feed(b"400\r\n" + b"x" * 1_024 + b"\r\n1;" + b"e" * 100)
        assert len(reader._buffer) == 102
        reader.feed(b"\r\ny\r\n")
        assert len(reader._buffer) == 0
    assert len(reader.body) == 200 * 1_025


class CountingBuffer(bytearray):
    """Counts the bytes that searches go through."""

    searched = 0

    def find(self, what: object, start: object = 0, end: object = None) -> int:
        assert isinstance(start, int)
        assert isinstance(what, bytes)
        self.searched += len(self) - start
        return super().find(what, start)


def test_trailers_byte_by_byte_are_searched_once() -> None:
    reader = read(b"0\r\n")
    reader._buffer = buffer = CountingBuffer()
    trailers = b"A: " + b"b" * 10_000 + b"\r\n\r\n"
    for piece in in_pieces(trailers, 1):
        reader.feed(piece)
    assert reader.is_complete
    assert buffer.searched <= 4 * len(trailers)
