"""Streams that are abandoned take places, of which the server may give none for a while."""

from __future__ import annotations

from http2_talk import Http2Talk
from machine_talk import POST

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.frames import INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, settings_frame
from livepost.wire.message import Response


def with_one_abandoned() -> Http2Talk:
    talk = Http2Talk(POST, POST, settings={MAX_CONCURRENT_STREAMS: 5})
    talk.machine._streams._cancels._left = 0
    talk.events += talk.machine.cancel(talk.exchanges[1])
    assert talk.machine.room == 3
    return talk


def test_a_server_that_gives_no_streams_for_a_moment_is_waited_for() -> None:
    talk = with_one_abandoned()
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 0}))
    assert (talk.machine.room, talk.machine.capacity, talk.machine.closing) == (0, 0, None)
    talk.receive(talk.ok(3))
    assert (talk.machine.room, talk.machine.closing) == (0, None)
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 4}))
    assert (talk.machine.room, talk.machine.closing) == (3, None)
    assert talk.outcomes()[0] == (1, Sent.ALL)


def test_places_that_are_all_abandoned_are_exhausted() -> None:
    talk = with_one_abandoned()
    talk.receive(settings_frame({MAX_CONCURRENT_STREAMS: 1}))
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.EXHAUSTED)


def test_a_whole_answer_counts_although_none_of_the_body_has_gone() -> None:
    talk = Http2Talk(settings={INITIAL_WINDOW_SIZE: 0})
    talk.send(POST, b"x" * 1_000)
    talk.take()
    talk.receive(talk.ok(1))
    assert talk.response() == Response(200, ((b"content-length", b"2"),), b"hi")
