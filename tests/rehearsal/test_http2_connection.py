"""HTTP/2 as the practice server speaks it, by a manual clock and frame by frame."""

from __future__ import annotations

import json

import pytest
from http2_talk import goaway, rst_stream, window_update
from practice_stats import stats
from practice_talk import FakeTransport, Http2Caller, ManualLoop, run

from livepost.rehearsal.api import PracticeApi, Respond
from livepost.rehearsal.endpoint import LINGER_SECONDS
from livepost.rehearsal.http2_connection import Http2Connection
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import IdleEnding, ServerLimits
from livepost.rehearsal.profiles import PROFILES
from livepost.rehearsal.reply import HANG_UP, RESET, SILENCE, After, Reply
from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.stats import Tally
from livepost.rehearsal.visit import Visit
from livepost.wire.frames import INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, ErrorCode

NO_LIMITS = ServerLimits()


class Talk:
    """A connection of the server, and its client."""

    def __init__(
        self,
        loop: ManualLoop,
        limits: ServerLimits = NO_LIMITS,
        *,
        latency: Latency | None = None,
        respond: Respond | None = None,
        settings: dict[int, int] | None = None,
    ) -> None:
        self.loop = loop
        self.tally = Tally()
        self.seen: list[RequestSeen] = []
        self.transport = FakeTransport()
        self.caller = Http2Caller()
        api = PracticeApi(self.tally, on_request=self.seen.append, respond=respond)
        self.connection = Http2Connection(Visit(1, self.tally), api.answer, limits, latency)
        self.connection.connection_made(self.transport)
        self.send(self.caller.hello(settings))

    def send(self, *data: bytes) -> Http2Caller:
        self.connection.data_received(b"".join(data))
        return self.hear()

    def hear(self) -> Http2Caller:
        return self.caller.receive(self.transport.take())

    def post(self, count: int = 1, body: bytes = b"{}") -> Http2Caller:
        return self.send(*[self.caller.request(body) for _ in range(count)])

    async def advance(self, seconds: float) -> Http2Caller:
        await self.loop.advance(seconds)
        return self.hear()


def test_requests_are_answered_on_their_streams() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        heard = talk.post(3, b'{"a": 1}')
        assert heard.ended == [1, 3, 5]
        assert heard.statuses == {1: [201], 3: [201], 5: [201]}
        assert heard.fields[1] == {"content-type": "application/json", "content-length": "54"}
        assert [json.loads(heard.bodies[n])["request_on_connection"] for n in (1, 3, 5)] == [1, 2, 3]
        first = talk.seen[0]
        assert (first.method, first.target, first.path, first.version) == (b"POST", b"/api", b"/api", "2")
        assert (first.body, first.headers, first.keep_alive) == (b'{"a": 1}', (), True)
        assert (talk.tally.requests, talk.tally.http2) == (3, 1)

    run(steps)


def test_methods_without_a_body_and_other_paths() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        caller = talk.caller
        talk.send(caller.request(b"", method="GET"), caller.request(b"", method="HEAD"))
        talk.send(caller.request(b"", path="/nowhere?x=1"), caller.request(b"{"))
        assert caller.statuses == {1: [201], 3: [201], 5: [404], 7: [400]}
        assert (3 in caller.bodies, caller.fields[3]["content-length"]) == (False, "54")
        assert caller.ended == [1, 3, 5, 7]
        assert talk.seen[2].target == b"/nowhere?x=1"

    run(steps)


def test_looking_is_not_counted_over_http2_either() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        heard = talk.send(talk.caller.request(b"", method="GET", path="/stats"))
        assert json.loads(heard.bodies[1]) == stats(0, 0)
        talk.post()
        heard = talk.send(talk.caller.request(b"", method="GET", path="/stats"))
        assert json.loads(heard.bodies[5]) == stats(1, 1, http2=1)

    run(steps)


def test_the_settings_are_those_of_the_profile_and_one_stream_too_many_is_refused() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, PROFILES["nginx"].limits, latency=Latency(1))
        assert talk.caller.settings[MAX_CONCURRENT_STREAMS] == 128
        heard = talk.post(130)
        assert heard.resets == dict.fromkeys((257, 259), ErrorCode.REFUSED_STREAM)
        assert talk.tally.requests == 128
        heard = await talk.advance(1)
        assert len(heard.ended) == 128
        assert talk.post().resets.keys() == {257, 259}

    run(steps)


def test_answers_come_when_their_own_latency_is_over() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, latency=Latency(0.5))
        talk.post()
        await talk.advance(0.3)
        talk.post()
        assert talk.caller.ended == []
        assert (await talk.advance(0.2)).ended == [1]
        assert (await talk.advance(0.3)).ended == [1, 3]

    run(steps)


def test_a_stream_that_the_client_resets_is_not_answered() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, latency=Latency(0.5))
        talk.post(2)
        talk.send(rst_stream(1, ErrorCode.CANCEL))
        assert (await talk.advance(1)).ended == [3]

    run(steps)


def test_a_request_that_is_reset_in_the_same_breath_is_not_served() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        heard = talk.send(talk.caller.request(), rst_stream(1, ErrorCode.CANCEL), talk.caller.request())
        assert (heard.ended, heard.resets, talk.tally.requests) == ([3], {}, 1)

    run(steps)


def test_an_answer_waits_for_room_in_the_windows() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, settings={INITIAL_WINDOW_SIZE: 10})
        heard = talk.post()
        assert (heard.statuses, len(heard.bodies[1]), heard.ended) == ({1: [201]}, 10, [])
        heard = talk.send(window_update(1, 20))
        assert (len(heard.bodies[1]), heard.ended) == (30, [])
        heard = talk.send(window_update(1, 100))
        assert (len(heard.bodies[1]), heard.ended) == (54, [1])

    run(steps)


def test_large_bodies_go_on_as_they_are_read() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        body = b"1" * 16_000
        talk.send(talk.caller.request(body, whole=False))
        for _ in range(20):
            talk.send(_data(1, body))
        heard = talk.send(talk.caller.rest(1))
        assert (heard.ended, len(talk.seen[0].body)) == ([1], 21 * 16_000)

    run(steps)


def _data(stream_id: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((0, 0)) + stream_id.to_bytes(4, "big") + body


def test_a_body_that_is_too_large_is_refused_and_need_not_be_sent() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(max_body_bytes=10))
        heard = talk.send(talk.caller.request(b"1" * 11, whole=False))
        assert (heard.statuses, heard.ended, heard.resets) == ({1: [413]}, [1], {1: ErrorCode.NO_ERROR})
        talk.send(_data(1, b"1" * 100))
        assert talk.post().statuses[3] == [201]
        heard = talk.send(talk.caller.request(b"1" * 11))
        assert (heard.statuses[5], 5 in heard.resets) == ([413], False)

    run(steps)


def test_a_body_held_back_is_asked_for() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        heard = talk.send(talk.caller.request(b"", ("expect", "100-continue"), whole=False))
        assert heard.statuses == {1: [100]}
        assert talk.send(talk.caller.rest(1, b"{}")).statuses == {1: [100, 201]}

    run(steps)


def test_the_cap_is_a_goaway_after_which_what_is_open_goes_on() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(max_requests=3), latency=Latency(1))
        heard = talk.post(5)
        assert (heard.goaways, talk.tally.requests) == ([(5, ErrorCode.NO_ERROR)], 3)
        assert talk.transport.told == []
        heard = await talk.advance(1)
        assert heard.ended == [1, 3, 5]
        assert talk.transport.told == ["resume_reading", "write_eof"]
        assert talk.tally.stats().cap_ends == 1
        talk.send(talk.caller.request())
        assert talk.tally.requests == 3
        await talk.advance(LINGER_SECONDS)
        assert talk.transport.told[-1] == "close"

    run(steps)


def test_a_cap_may_not_be_announced() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(max_requests=2, announces=False))
        heard = talk.post(4)
        assert (heard.ended, heard.goaways, talk.transport.told) == ([1, 3], [], ["close"])
        assert talk.tally.stats().cap_ends == 1

    run(steps)


def test_the_age_is_announced_with_the_next_request() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(max_age=60))
        talk.post()
        await talk.advance(61)
        assert talk.caller.goaways == []
        heard = talk.post(2)
        assert (heard.goaways, heard.ended) == ([(3, 0)], [1, 3])
        assert talk.tally.stats().age_ends == 1

    run(steps)


def test_an_unannounced_end_of_age_waits_for_what_is_open() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(max_age=60, announces=False), latency=Latency(5))
        await talk.advance(58)
        talk.post()
        await talk.advance(3)
        assert talk.transport.told == []
        heard = await talk.advance(2)
        assert (heard.ended, heard.goaways, talk.transport.told) == ([1], [], ["close"])
        assert talk.tally.stats().age_ends == 1

    run(steps)


@pytest.mark.parametrize(
    ("ending", "goaways", "told"),
    [
        (IdleEnding.CLOSE, [(1, 0)], ["close"]),
        (IdleEnding.TIMEOUT_ANSWER, [(1, 0)], ["resume_reading", "write_eof"]),
        (IdleEnding.RESET, [], ["abort"]),
        (IdleEnding.VANISH, [], []),
    ],
)
def test_an_idle_connection_says_goodbye_if_it_says_anything(
    ending: IdleEnding, goaways: list[tuple[int, int]], told: list[str]
) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(idle_timeout=5, idle_ending=ending))
        talk.post()
        await talk.advance(4.9)
        assert talk.transport.told == []
        heard = await talk.advance(0.1)
        assert (heard.goaways, talk.transport.told) == (goaways, told)
        assert talk.tally.stats().idle_ends == 1

    run(steps)


@pytest.mark.parametrize("counts", [True, False])
def test_a_ping_may_or_may_not_be_a_sign_of_life(counts: bool) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(idle_timeout=5, pings_count=counts))
        talk.post()
        await talk.advance(4)
        assert talk.send(talk.caller.ping()).pongs == 1
        await talk.advance(2)
        assert talk.transport.told == ([] if counts else ["close"])

    run(steps)


def test_a_connection_is_not_idle_while_an_answer_is_due_but_while_a_request_is_unfinished() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(idle_timeout=5), latency=Latency(20))
        talk.post()
        for _ in range(20):
            await talk.advance(1)
        assert (talk.caller.ended, talk.transport.told) == ([1], [])
        talk.send(talk.caller.request(b"{", whole=False))
        for _ in range(6):
            await talk.advance(1)
        assert talk.transport.told == ["close"]

    run(steps)


@pytest.mark.parametrize(
    ("reply", "goaways", "told"),
    [
        (Reply(503, after=After.CLOSE), [(1, 0)], ["resume_reading", "write_eof"]),
        (Reply(503, after=After.DROP), [], ["close"]),
        (Reply(503, after=After.RESET), [], ["abort"]),
    ],
)
def test_a_script_ends_the_connection_after_its_answer(
    reply: Reply, goaways: list[tuple[int, int]], told: list[str]
) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, respond=lambda request: reply)
        heard = talk.post()
        assert (heard.statuses, heard.ended) == ({1: [503]}, [1])
        assert (heard.goaways, talk.transport.told) == (goaways, told)

    run(steps)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (SILENCE, []),
        (HANG_UP, ["close"]),
        (RESET, ["abort"]),
    ],
)
def test_a_script_may_give_no_answer(reply: Reply, told: list[str]) -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, respond=lambda request: reply if request.body == b"1" else None)
        assert talk.post(body=b"1").statuses == {}
        assert talk.transport.told == told
        assert talk.post().statuses == ({3: [201]} if reply is SILENCE else {})

    run(steps)


def test_raw_bytes_are_sent_as_they_are() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, respond=lambda request: Reply(raw=b"what is this", after=After.DROP))
        talk.connection.data_received(talk.caller.request())
        assert talk.transport.take() == b"what is this"
        assert talk.transport.told == ["close"]

    run(steps)


def test_a_head_that_is_too_large_ends_the_connection() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, ServerLimits(max_head_bytes=1000))
        assert talk.send(talk.caller.request(b"{}", ("x", "y" * 700))).ended == [1]
        heard = talk.send(talk.caller.request(b"{}", ("x", "y" * 1000)))
        assert (heard.ended, len(heard.goaways), talk.transport.told[-1]) == ([1], 1, "write_eof")

    run(steps)


def test_a_client_that_breaks_the_protocol_is_told_so() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        heard = talk.send(_data(7, b"of no stream"))
        assert [code for _, code in heard.goaways] == [ErrorCode.PROTOCOL_ERROR]
        assert talk.transport.told == ["resume_reading", "write_eof"]

    run(steps)


def test_a_client_that_says_goodbye_is_answered_no_more() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop)
        talk.send(talk.caller.request(), goaway(0))
        assert (talk.transport.told, talk.tally.requests) == (["close"], 0)

    run(steps)


def test_a_lost_connection_forgets_its_answers() -> None:
    async def steps(loop: ManualLoop) -> None:
        talk = Talk(loop, latency=Latency(1))
        talk.post(2)
        talk.connection.connection_lost(None)
        await talk.advance(2)
        assert (talk.caller.ended, talk.tally.open) == ([], 0)

    run(steps)
