"""An HTTP/2 connection where all goes well: its beginning, its room, and its leave."""

from __future__ import annotations

import pytest
from http2_talk import TWO_BYTES, Http2Talk, fields_of, frame, goaway, sizes, window_update
from machine_talk import BODY, CLOSE, EXPECT, HEAD, POST, request_head

from livepost.events import CloseReason
from livepost.wire.flow import CONNECTION_WINDOW
from livepost.wire.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    settings_frame,
)
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Stage
from livepost.wire.message import RequestHead, Response

GET = request_head(b"GET")
OK_RESPONSE = Response(200, TWO_BYTES, b"hi")
WHOLE = END_HEADERS | END_STREAM


def test_a_connection_begins_with_preface_settings_and_a_large_window() -> None:
    talk = Http2Talk(is_greeted=False, max_response_bytes=1_000_000)
    settings, update = talk.take()
    assert talk.output.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x18\x04\0\0\0\0\0")
    # The usual table, no push, room for the largest answer on every stream, at most 64 KiB of headers.
    assert settings == (SETTINGS, 0, 0, bytes.fromhex("00010000100000020000000000040010423f000600010000"))
    assert 0x10423F == 1_000_000 + 65_535
    assert update == (WINDOW_UPDATE, 0, 0, (CONNECTION_WINDOW - 65_535).to_bytes(4, "big"))


def test_settings_are_acknowledged_and_pings_answered() -> None:
    talk = Http2Talk(is_greeted=False)
    talk.take()
    assert talk.receive(settings_frame({})) == []
    assert talk.take() == [(SETTINGS, ACK, 0, b"")]
    talk.receive(frame(PING, 0, 0, b"12345678") + settings_frame({3: 5}))
    assert talk.take() == [(PING, ACK, 0, b"12345678"), (SETTINGS, ACK, 0, b"")]
    talk.receive(frame(SETTINGS, ACK, 0))
    assert talk.take() == []


def test_all_settings_of_the_server_are_told_the_last_of_each_counts() -> None:
    talk = Http2Talk(is_greeted=False)
    assert talk.machine.peer_settings == {}
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 5, 0xFFFF: 1}))
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 7}))
    assert talk.machine.peer_settings == {MAX_CONCURRENT_STREAMS: 7, 0xFFFF: 1}


def test_one_request_waits_for_the_greeting_and_its_body_is_held() -> None:
    talk = Http2Talk(POST, is_greeted=False)
    machine = talk.machine
    assert (machine.room, machine.body_held) == (0, True)
    assert [sent.kind for sent in talk.take()] == [SETTINGS, WINDOW_UPDATE, HEADERS]
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 5}))
    assert (machine.room, machine.body_held) == (4, False)
    assert talk.take() == [(SETTINGS, ACK, 0, b""), (DATA, END_STREAM, 1, BODY)]


def test_a_request_without_a_body_does_not_wait_for_the_greeting() -> None:
    talk = Http2Talk(is_greeted=False)
    talk.send(GET, b"")
    assert not talk.machine.body_held
    assert [sent.flags for sent in talk.take()] == [0, 0, WHOLE]


def test_a_body_that_expects_to_be_let_go_waits_longer_than_for_the_greeting() -> None:
    talk = Http2Talk(EXPECT, is_greeted=False)
    talk.receive(settings_frame({}))
    assert talk.machine.body_held
    talk.receive(talk.head(1, status=100))
    assert not talk.machine.body_held
    assert talk.take()[-1] == (DATA, END_STREAM, 1, BODY)


def test_capacity_is_taken_to_be_enough_until_the_server_has_said() -> None:
    talk = Http2Talk(is_greeted=False)
    assert talk.machine.capacity == 2**31
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 5}))
    assert talk.machine.capacity == 5
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 0}))
    assert talk.machine.capacity == 0


def test_room_is_what_the_server_takes_and_what_may_be_in_doubt() -> None:
    assert Http2Talk().machine.room == 100
    assert Http2Talk(most_open=7).machine.room == 7
    talk = Http2Talk(settings={MAX_CONCURRENT_STREAMS: 3}, most_open=7)
    assert talk.machine.room == 3
    for left in (2, 1, 0):
        talk.send()
        assert talk.machine.room == left
    with pytest.raises(RuntimeError, match="without room"):
        talk.machine.send(talk.exchanges[1])
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 1}))
    for stream_id, room in ((3, 0), (1, 0), (5, 1)):
        talk.receive(talk.ok(stream_id))
        assert talk.machine.room == room
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 0}))
    assert (talk.machine.room, talk.machine.closing) == (0, None)
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 1_000}))
    assert talk.machine.room == 7


def test_what_waits_is_told_oldest_first() -> None:
    talk = Http2Talk(POST, POST, POST)
    talk.receive(talk.head(3, *TWO_BYTES) + talk.ok(5))
    exchanges = talk.exchanges
    assert list(talk.machine.waiting()) == [(exchanges[1], Stage.SENT), (exchanges[3], Stage.ANSWERING)]
    talk.receive(talk.ok(1))
    assert list(talk.machine.waiting()) == [(exchanges[3], Stage.ANSWERING)]
    talk.receive(talk.data(3))
    assert list(talk.machine.waiting()) == []


def test_what_is_not_wholly_sent_is_told_from_what_is() -> None:
    talk = Http2Talk(EXPECT)
    talk.send(POST, b"x" * 100_000)
    talk.take()
    exchanges = talk.exchanges
    assert list(talk.machine.waiting()) == [(exchanges[1], Stage.HELD), (exchanges[3], Stage.SENDING)]
    talk.machine.release_body()
    talk.receive(window_update(0, 100_000) + window_update(3, 100_000))
    talk.take()
    assert list(talk.machine.waiting()) == [(exchanges[1], Stage.SENT), (exchanges[3], Stage.SENT)]


def test_numbers_of_streams_run_out() -> None:
    talk = Http2Talk()
    talk.machine._streams.next_id = LARGEST_STREAM - 2
    talk.machine.room = talk.machine._places.room()
    assert talk.machine.room == 2
    talk.machine.send(
        talk_exchange := talk.exchanges.setdefault(
            1, __import__("livepost.wire.message").wire.message.Exchange(POST, BODY)
        )
    )
    assert (talk.machine.room, talk.machine.closing) == (1, None)
    talk.machine.send(talk_exchange)
    assert [sent.stream_id for sent in talk.take()][::2] == [LARGEST_STREAM - 2, LARGEST_STREAM]
    talk.receive(frame(PING, 0, 0, bytes(8)))
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.EXHAUSTED)


def test_without_keep_alive_a_connection_carries_one_request() -> None:
    talk = Http2Talk(CLOSE)
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.KEEPALIVE_OFF)
    talk.receive(talk.ok(1))
    assert talk.response() == OK_RESPONSE
    assert talk.machine.room == 0


def test_a_body_is_held_until_100() -> None:
    talk = Http2Talk(EXPECT, EXPECT)
    frames = talk.take()
    assert [(sent.kind, sent.flags) for sent in frames] == [(HEADERS, END_HEADERS)] * 2
    assert fields_of(talk, frames[0])[-2:] == [(b"expect", b"100-continue"), (b"content-length", b"8")]
    talk.receive(talk.head(3, status=100))
    assert talk.machine.body_held
    assert sizes(talk.take()) == [(3, 8)]
    talk.machine.release_body()
    assert not talk.machine.body_held
    assert sizes(talk.take()) == [(1, 8)]
    talk.receive(talk.head(1, status=100) + talk.ok(1, 3))
    assert talk.outcomes() == [(1, OK_RESPONSE), (3, OK_RESPONSE)]
    assert talk.take() == []


def test_without_a_body_nothing_is_expected() -> None:
    talk = Http2Talk()
    talk.send(EXPECT, b"")
    assert not talk.machine.body_held
    assert fields_of(talk, talk.take()[0])[-1] == (b"content-length", b"0")


@pytest.mark.parametrize("head", [EXPECT, POST])
def test_an_answer_before_the_whole_request_ends_that(head: RequestHead) -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 4})
    talk.send(head)
    talk.take()
    talk.receive(talk.ok(1))
    assert talk.response() == OK_RESPONSE
    assert talk.take() == [(RST_STREAM, 0, 1, b"\0\0\0\x08")]
    assert (talk.machine.room, talk.machine.body_held) == (100, False)
    # The server may have said the same, and widened the window before.
    talk.receive(frame(RST_STREAM, 0, 1, bytes(4)) + window_update(1, 50) + settings_frame({4: 50}))
    assert talk.take() == [(SETTINGS, ACK, 0, b"")]


def test_a_ping_is_open_until_its_own_answer_comes() -> None:
    talk = Http2Talk()
    for number in (1, 2):
        talk.machine.ping()
        talk.machine.ping()
        assert talk.machine.ping_open
        (ping,) = talk.take()
        assert ping == (PING, 0, 0, number.to_bytes(8, "big"))
        talk.receive(frame(PING, ACK, 0, b"whatever"))
        assert talk.machine.ping_open
        talk.receive(frame(PING, ACK, 0, ping.payload))
        assert not talk.machine.ping_open
    talk.machine.ping()
    talk.end()
    assert not talk.machine.ping_open
    talk.take()
    talk.machine.ping()
    assert (talk.machine.ping_open, talk.take()) == (False, [])


def test_the_last_word_is_goodbye_unless_the_server_said_it_first() -> None:
    talk = Http2Talk(POST)
    talk.end()
    # The request was not taken to be written, and is not to be.
    assert talk.take() == [(GOAWAY, 0, 0, bytes(8))]
    assert talk.end() == []
    assert talk.take() == []
    talk = Http2Talk(POST)
    talk.receive(goaway(1))
    talk.end()
    assert talk.take() == []


def test_the_machines_positions_are_those_of_its_output() -> None:
    talk = Http2Talk(POST, EXPECT, POST)
    talk.send(HEAD, b"")
    talk.send(POST, b"x" * 100_000)
    for _ in range(5):
        talk.send(fields=((b"a", b"b"),))
        talk.take()
        assert talk.machine._output.end == talk.machine._output.taken == len(talk.output)
        talk.receive(window_update(0, 1_000))


def test_machines_are_made_with_their_limits() -> None:
    machine = Http2Machine(max_response_bytes=0, most_open=1)
    assert machine.room == 1


def test_a_head_larger_than_the_server_likes_is_for_the_server_to_refuse() -> None:
    talk = Http2Talk(settings={MAX_HEADER_LIST_SIZE: 40})
    number = talk.send(POST)
    (head, _) = talk.take()
    assert (head.kind, head.stream_id) == (HEADERS, number)
