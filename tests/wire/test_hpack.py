"""HPACK: the examples of RFC 7541 appendix C, an independent implementation, and harmful blocks."""

from __future__ import annotations

import hpack
import pytest
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from livepost.wire.hpack import (
    STATIC_TABLE,
    TABLE_BYTES,
    Decoder,
    Encoder,
    HpackError,
    encode_length,
    encode_private,
    encode_value,
)
from livepost.wire.message import Fields

LIMIT = 65_536

name = st.sampled_from([name for name, _ in STATIC_TABLE] + [b"x-a", b"x-b", b"x-" + b"n" * 200])
value = st.sampled_from([value for _, value in STATIC_TABLE] + [b"v" * 150]) | st.binary(max_size=20)
fields = st.lists(st.tuples(name, value), max_size=8)


def test_the_static_table_is_that_of_the_standard() -> None:
    assert STATIC_TABLE == HeaderTable.STATIC_TABLE


GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
GET_TLS = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    (b":authority", b"www.example.com"),
    (b"custom-key", b"custom-value"),
]
REQUESTS = [GET, [*GET, (b"cache-control", b"no-cache")], GET_TLS]
FOUND = [
    (b":status", b"302"),
    (b"cache-control", b"private"),
    (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
    (b"location", b"https://www.example.com"),
]
COOKIE = b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
RESPONSES = [
    FOUND,
    [(b":status", b"307"), *FOUND[1:]],
    [
        (b":status", b"200"),
        FOUND[1],
        (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
        FOUND[3],
        (b"content-encoding", b"gzip"),
        (b"set-cookie", COOKIE),
    ],
]

# RFC 7541 appendix C: what is on the wire, and what it means.
LITERALS = [
    ("C.2.1", "400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header")),
    ("C.2.2", "040c2f73616d706c652f70617468", (b":path", b"/sample/path")),
    ("C.2.3", "100870617373776f726406736563726574", (b"password", b"secret")),
    ("C.2.4", "82", (b":method", b"GET")),
]
CONVERSATIONS = [
    (
        "C.3",
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        REQUESTS,
        164,
    ),
    (
        "C.4",
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
        REQUESTS,
        164,
    ),
    (
        "C.5",
        [
            (
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                "6e1768747470733a2f2f7777772e6578616d706c652e636f6d"
            ),
            "4803333037c1c0bf",
            (
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f"
                "3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076"
                "657273696f6e3d31"
            ),
        ],
        RESPONSES,
        215,
    ),
    (
        "C.6",
        [
            (
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f"
                "0b97c8e9ae82ae43d3"
            ),
            "4883640effc1c0bf",
            (
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df"
                "dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
            ),
        ],
        RESPONSES,
        215,
    ),
]


@pytest.mark.parametrize(("section", "block", "field"), LITERALS)
def test_the_single_fields_of_the_standard(section: str, block: str, field: tuple[bytes, bytes]) -> None:
    decoder = Decoder(LIMIT)
    assert decoder.decode(bytes.fromhex(block)) == ([field], True)
    assert decoder.changes == (1 if section == "C.2.1" else 0)


@pytest.mark.parametrize(("section", "blocks", "meanings", "size"), CONVERSATIONS)
def test_the_conversations_of_the_standard(
    section: str, blocks: list[str], meanings: list[list[tuple[bytes, bytes]]], size: int
) -> None:
    decoder = Decoder(LIMIT)
    if section in ("C.5", "C.6"):
        # They are held with a table of 256 bytes.
        assert decoder.decode(bytes.fromhex("3fe101")) == ([], True)
    for block, meaning in zip(blocks, meanings, strict=True):
        assert decoder.decode(bytes.fromhex(block)) == (meaning, True)
    assert decoder._size == size


def test_the_requests_of_the_standard_are_encoded_as_there() -> None:
    encoder = Encoder()
    _, blocks, meanings, _ = CONVERSATIONS[0]
    for block, meaning in zip(blocks, meanings, strict=True):
        assert encoder.encode(tuple(meaning)).hex() == block


# Sizes of the table to set before a block; None leaves it.
resizes = (
    st.none() | st.integers(0, TABLE_BYTES) | st.lists(st.integers(0, TABLE_BYTES), min_size=2, max_size=2)
)


@given(st.lists(st.tuples(resizes, fields, st.booleans()), max_size=10))
def test_what_the_other_encodes_is_decoded(steps: list[tuple[int | list[int] | None, Fields, bool]]) -> None:
    theirs, ours = hpack.Encoder(), Decoder(LIMIT)
    for sizes, meant, is_huffman in steps:
        for size in [sizes] if isinstance(sizes, int) else sizes or []:
            # Told the same size again, it forgets to say so.
            if size != theirs.header_table_size:
                theirs.header_table_size = size
        table = list(ours._table)
        changes = ours.changes
        assert ours.decode(theirs.encode(meant, huffman=is_huffman)) == (list(meant), True)
        assert [*reversed(ours._table)] == list(theirs.header_table.dynamic_entries)
        assert ours._size == theirs.header_table._current_size
        assert ours.changes != changes or ours._table == table


@given(st.lists(st.tuples(st.none() | st.integers(0, 8_192), fields), max_size=10))
def test_the_other_decodes_what_is_encoded(steps: list[tuple[int | None, Fields]]) -> None:
    ours, theirs = Encoder(), hpack.Decoder()
    for size, meant in steps:
        if size is not None:
            ours.set_limit(size)
            theirs.max_allowed_table_size = size
            if theirs.header_table_size > size:
                theirs.header_table_size = size
        blocks = []
        for _ in range(3):
            changes = ours.changes
            block = ours.encode(tuple(meant))
            assert theirs.decode(block, raw=True) == list(meant)
            blocks.append((block, ours.changes != changes))
        # From the second time on it is a constant.
        assert blocks[1] == blocks[2] == (blocks[1][0], False)
        assert blocks[0][1] or blocks[0][0] == blocks[1][0]


def test_a_list_that_was_seen_takes_a_byte_a_field_until_the_table_is_full() -> None:
    encoder = Encoder()
    seen = tuple((b"x-%d" % number, b"value") for number in range(60))
    first = encoder.encode(seen)
    assert len(first) == 60 * len(b"\x40\x03x-1\x05value") + 50
    assert len(encoder.encode(seen)) == 60
    # 60 × 41 bytes are taken, 2 000 are not left.
    large = (b"x-large", b"y" * 2_000)
    changes = encoder.changes
    assert len(encoder.encode((*seen, large))) == len(encoder.encode((*seen, large))) > 2_060
    assert encoder.changes == changes


def test_private_fields_and_lengths_leave_the_tables_alone() -> None:
    theirs = hpack.Decoder()
    block = encode_private(b"idempotency-key") + encode_value(b"k" * 200) + encode_length(12_345)
    block += encode_private(b"authorization") + encode_value(b"secret")
    fields = theirs.decode(block, raw=True)
    assert fields == [
        (b"idempotency-key", b"k" * 200),
        (b"content-length", b"12345"),
        (b"authorization", b"secret"),
    ]
    assert [type(field).__name__ for field in fields] == [
        "NeverIndexedHeaderTuple",
        "HeaderTuple",
        "NeverIndexedHeaderTuple",
    ]
    assert len(theirs.header_table.dynamic_entries) == 0
    assert encode_length(0) == b"\x0f\x0d\x010"


@pytest.mark.parametrize(
    "block",
    [
        "80",  # entry 0
        "be",  # an entry that does not exist
        "7e0161",  # a name that does not exist
        "ff",  # a number that goes on
        "ff80",
        "ffffffffff7f",  # a number too large
        "ff808080808080808000",  # a number in too many bytes
        "40",  # no name
        "4001",  # a name cut off
        "400161",  # no value
        "40016105",  # a value cut off
        "4001617f",
        "0f",
        "0001618161",  # Huffman-coded, and ends inside a symbol
        "000184ffffffff0161",
        "8220",  # the size changes after a field
        "3fe21f",  # a table larger than agreed: 4 097
        "3f",
    ],
)
def test_a_block_that_cannot_be_decoded(block: str) -> None:
    with pytest.raises(HpackError):
        Decoder(LIMIT).decode(bytes.fromhex(block))


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_as_the_other_does_or_refused(block: bytes) -> None:
    theirs = hpack.Decoder(max_header_list_size=1 << 30)
    try:
        fields, is_whole = Decoder(LIMIT).decode(block)
    except HpackError:
        return
    # The other does not mind a size that changes where it may not, so what we take it takes.
    assert is_whole
    assert [tuple(field) for field in theirs.decode(block, raw=True)] == fields


def test_a_table_of_size_0_takes_entries_and_keeps_none() -> None:
    decoder = Decoder(LIMIT)
    decoder.decode(bytes.fromhex(LITERALS[0][1]))
    assert decoder.changes == 1
    # Its size, and what was in it.
    decoder.decode(bytes.fromhex("20"))
    assert (decoder.changes, decoder._table, decoder._size) == (3, [], 0)
    decoder.decode(bytes.fromhex(LITERALS[0][1]))
    assert (decoder.changes, decoder._table, decoder._size) == (3, [], 0)


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = Decoder(LIMIT)
    decoder.decode(bytes.fromhex(LITERALS[0][1]))
    decoder.decode(b"\x40\x01a\x7f\xd1\x1f" + b"b" * 4_176)
    assert (decoder.changes, decoder._table, decoder._size) == (2, [], 0)


def test_a_small_block_cannot_claim_much_memory() -> None:
    decoder = Decoder(LIMIT)
    decoder.decode(b"\x40\x01a\x7f\xc0\x1e" + b"b" * 4_031)
    fields, is_whole = decoder.decode(b"\xbe" * 60_000 + b"\x40\x01c\x01d")
    assert (len(fields), is_whole) == (LIMIT // (1 + 4_031 + 32), False)
    # The table went on all the same.
    assert decoder.decode(b"\xbe") == ([(b"c", b"d")], True)
