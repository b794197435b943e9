"""The Huffman code, against the tables and the encoder of an independent implementation."""

from __future__ import annotations

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from livepost.wire import huffman
from livepost.wire.huffman import HuffmanError, decode_huffman

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def bits(text: str) -> bytes:
    """Bits, spaces aside, to bytes."""
    text = text.replace(" ", "")
    assert len(text) % 8 == 0
    return int(text, 2).to_bytes(len(text) // 8, "big")


def test_the_code_is_that_of_the_standard() -> None:
    theirs = {
        f"{code:0{length}b}": symbol
        for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
    }
    assert huffman._symbols() == theirs
    assert len(theirs) == 257


@given(st.binary(max_size=200) | st.text("0123456789abcdef-", max_size=80).map(str.encode))
def test_what_was_encoded_is_decoded(text: bytes) -> None:
    assert decode_huffman(ENCODER.encode(text)) == text


@pytest.mark.parametrize("symbol", range(256))
def test_every_symbol(symbol: int) -> None:
    text = bytes((symbol,))
    assert decode_huffman(ENCODER.encode(text)) == text
    assert decode_huffman(ENCODER.encode(text * 100)) == text * 100


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (bits("00011 000"), "ends inside a symbol"),
        (bits("00011 110"), "ends inside a symbol"),
        # Eight bits of padding, and more.
        (bits("11111111"), "ends inside a symbol"),
        (bits("00011 11111111 111"), "ends inside a symbol"),
        (b"\xff" * 3, "ends inside a symbol"),
        # The end-of-string symbol, at the end and before it.
        (b"\xff" * 4, "end-of-string"),
        (b"\xff" * 400, "end-of-string"),
        (bits("11111111 11111111 11111111 11111100 01111111"), "end-of-string"),
    ],
)
def test_what_is_no_string(data: bytes, problem: str) -> None:
    for _ in range(2):
        with pytest.raises(HuffmanError, match=problem):
            decode_huffman(data)


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_as_the_other_does_or_refused(data: bytes) -> None:
    try:
        text = decode_huffman(data)
    except HuffmanError:
        return
    # There is one way to write a string, so it encodes to the same.
    assert ENCODER.encode(text) == data
