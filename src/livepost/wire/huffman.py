"""Strings in HPACK's Huffman code, decoded a byte at a time (RFC 7541 section 5.2 and appendix B).

The code is canonical: the lengths of its codes alone define it.  Symbols of the same length have
consecutive codes, in order, and shorter codes come first.

The decoder is a state machine over bytes: a state stands for the bits read since the last whole
symbol, and for each byte it knows the next state and the symbols completed on the way.  What it knows it
learns when first asked, so importing costs nothing; all of it together (256 states, 65 536 steps) would
take some 10 MB, what servers really send takes less than a tenth.
"""

from __future__ import annotations

import functools

_END_OF_STRING = 256

# Appendix B, in order of the symbols, the last being the end of the string.
_LENGTHS = """
    13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
    6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
    13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
    15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
    20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
    22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
    26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
    20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
    30
"""

# A string is remembered if it is short: dates and the like come with every answer.
_REMEMBERED_STRINGS = 256
_REMEMBERED_BYTES = 64


class HuffmanError(ValueError):
    """The bits are not a Huffman-coded string."""


class _State(dict[int, tuple["_State", bytes]]):
    """The bits since the last whole symbol, and what each next byte leads to."""

    __slots__ = ("_bits", "may_end")

    def __init__(self, bits: str) -> None:
        self._bits = bits
        # Padding is up to 7 bits of the code for the end of the string, which is all ones.
        self.may_end = len(bits) < 8 and "0" not in bits

    def __missing__(self, byte: int) -> tuple[_State, bytes]:
        symbols = _symbols()
        text = ""
        completed = bytearray()
        for bit in f"{self._bits}{byte:08b}":
            text += bit
            symbol = symbols.get(text)
            if symbol == _END_OF_STRING:
                raise HuffmanError("a Huffman-coded string holds the end-of-string symbol")
            if symbol is not None:
                completed.append(symbol)
                text = ""
        step = self[byte] = _state(text), bytes(completed)
        return step


@functools.cache
def _state(bits: str) -> _State:
    return _State(bits)


@functools.cache
def _symbols() -> dict[str, int]:
    """Symbols by their code, written in 0 and 1."""
    lengths = [int(length) for length in _LENGTHS.split()]
    symbols = {}
    code = last_length = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths)):
        code <<= length - last_length
        last_length = length
        symbols[f"{code:0{length}b}"] = symbol
        code += 1
    return symbols


def decode_huffman(data: bytes) -> bytes:
    """The string that `data` encodes.  Raises HuffmanError."""
    return _decode_short(data) if len(data) <= _REMEMBERED_BYTES else _decode(data)


def _decode(data: bytes) -> bytes:
    state = _state("")
    pieces = []
    for byte in data:
        state, piece = state[byte]
        pieces.append(piece)
    if not state.may_end:
        raise HuffmanError("a Huffman-coded string ends inside a symbol")
    return b"".join(pieces)


_decode_short = functools.lru_cache(_REMEMBERED_STRINGS)(_decode)
