"""What holds for a machine whichever protocol it speaks: the seam that connections rely on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_talk import CLOSE, EXPECT, POST
from server_ends import ENDS, ServerEnd

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.machine import Answered, Event, Failed, Machine, Stage
from livepost.wire.message import Exchange, RequestHead, Response

BODY = b'{"n": 1}'
OK = Response(201, ((b"content-length", b"2"),), b"ok")


class Talk:
    """A machine and a server, greeted; nothing goes between them but by `up` and `down`."""

    def __init__(self, make_end: Callable[[], ServerEnd], max_response_bytes: int = 1_000_000) -> None:
        self.end = make_end()
        self.machine: Machine = self.end.machine(max_response_bytes)
        self.events: list[Event] = []
        self.written = 0
        self.down(self.end.greeting())
        self.up()

    def send(self, head: RequestHead = POST, body: bytes = BODY) -> Exchange:
        exchange = Exchange(head, body)
        self.machine.send(exchange)
        return exchange

    def up(self) -> None:
        """All that the client says, and what the server says to that, until there is nothing."""
        while output := self.machine.take_output():
            self.written += len(output)
            self.down(self.end.receive(output))

    def down(self, data: bytes, size: int = 0) -> None:
        """What the server says, in pieces of this size."""
        size = size or len(data) or 1
        for start in range(0, len(data), size):
            self.events += self.machine.receive(data[start : start + size])

    def stages(self) -> list[Stage]:
        return [stage for _, stage in self.machine.waiting()]


@pytest.fixture(params=list(ENDS.values()), ids=list(ENDS))
def make_end(request: pytest.FixtureRequest) -> Callable[[], ServerEnd]:
    make: Callable[[], ServerEnd] = request.param
    return make


@pytest.fixture
def talk(make_end: Callable[[], ServerEnd]) -> Talk:
    return Talk(make_end)


def test_one_exchange_after_the_other(talk: Talk) -> None:
    machine = talk.machine
    room = machine.room
    assert (room, machine.open_exchanges, machine.closing, machine.unserved) == (machine.capacity, 0, None, 0)
    for number in range(1, 4):
        exchange = talk.send(body=b"%d" % number)
        assert (machine.room, machine.open_exchanges) == (room - 1, 1)
        assert list(machine.waiting()) == [(exchange, Stage.SENT)]
        talk.up()
        assert machine.take_output() == b""
        assert talk.end.bodies[-1] == b"%d" % number
        talk.down(talk.end.answer())
        assert talk.events.pop() == Answered(exchange, OK)
        assert talk.events == []
        assert (machine.room, machine.open_exchanges, machine.closing) == (room, 0, None)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_an_answer_in_pieces(talk: Talk, size: int) -> None:
    talk.send()
    talk.up()
    talk.down(talk.end.answer(b"x" * 500), size)
    (event,) = talk.events
    assert isinstance(event, Answered)
    assert event.response.body == b"x" * 500


def test_the_stages_of_an_exchange(talk: Talk) -> None:
    talk.send(EXPECT)
    stages = [talk.stages()]
    talk.up()
    stages.append(talk.stages())
    assert talk.machine.body_held
    talk.down(talk.end.say_continue())
    assert not talk.machine.body_held
    talk.up()
    stages.append(talk.stages())
    talk.down(talk.end.begin(2))
    stages.append(talk.stages())
    talk.down(talk.end.go_on(b"ok", is_last=True))
    stages.append(talk.stages())
    assert stages == [[Stage.HELD], [Stage.HELD], [Stage.SENT], [Stage.ANSWERING], []]
    assert talk.events[0] == Answered(talk.events[0].exchange, OK)


def test_a_held_body_can_be_let_go(talk: Talk) -> None:
    talk.send(EXPECT)
    talk.up()
    assert talk.end.bodies == []
    talk.machine.release_body()
    talk.up()
    assert talk.end.bodies == [BODY]


def test_a_held_body_was_not_processed(talk: Talk) -> None:
    exchange = talk.send(EXPECT)
    talk.up()
    assert talk.machine.end(written=talk.written, reason="why", orderly=False) == [
        Failed(exchange, Sent.REFUSED, "why")
    ]


@pytest.mark.parametrize("is_whole", [True, False])
def test_how_much_was_sent(talk: Talk, is_whole: bool) -> None:
    before = talk.written
    exchange = talk.send()
    output = talk.machine.take_output()
    (event,) = talk.machine.end(written=before + len(output) - (not is_whole), reason="why", orderly=False)
    assert event == Failed(exchange, Sent.ALL if is_whole else Sent.SOME, "why")


def test_nothing_was_sent(talk: Talk) -> None:
    exchange = talk.send()
    written = talk.written
    talk.machine.take_output()
    assert talk.machine.end(written=written, reason="why", orderly=True) == [
        Failed(exchange, Sent.NOTHING, "why")
    ]


def test_after_the_end_there_is_nothing_but_a_farewell(talk: Talk) -> None:
    talk.send()
    talk.up()
    assert len(talk.machine.end(written=talk.written, reason="why", orderly=False)) == 1
    assert (talk.machine.room, talk.machine.open_exchanges) == (0, 0)
    assert talk.machine.closing is CloseReason.SERVER_CLOSED
    farewell = talk.machine.take_output()
    assert (farewell != b"") is talk.machine.is_multiplexed
    assert BODY not in farewell
    assert talk.machine.take_output() == b""
    assert talk.machine.end(written=talk.written, reason="again", orderly=False) == []


def test_an_answer_that_ends_inside_its_body(talk: Talk) -> None:
    exchange = talk.send()
    talk.up()
    talk.down(talk.end.begin(9) + talk.end.go_on(b"half", is_last=False))
    assert talk.events == []
    (event,) = talk.machine.end(written=talk.written, reason="why", orderly=False)
    fields = ((b"content-length", b"9"),)
    assert event == Answered(exchange, Response(201, fields, b"half", complete=False))


def test_an_answer_that_is_too_long(make_end: Callable[[], ServerEnd]) -> None:
    talk = Talk(make_end, max_response_bytes=100)
    talk.send()
    talk.up()
    talk.down(talk.end.begin(1000) + talk.end.go_on(b"x" * 1000, is_last=True))
    (event,) = talk.events
    assert isinstance(event, Answered)
    assert (event.response.status, event.response.body, event.response.complete) == (201, b"x" * 100, False)


def test_keep_alive_switched_off(talk: Talk) -> None:
    exchange = talk.send(CLOSE)
    assert talk.machine.room == 0
    talk.up()
    talk.down(talk.end.answer())
    (event,) = talk.events
    assert isinstance(event, Answered)
    assert (event.exchange, event.response.body) == (exchange, b"ok")
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.KEEPALIVE_OFF)


def test_the_server_announces_the_end(talk: Talk) -> None:
    exchange = talk.send()
    talk.up()
    talk.down(talk.end.answer_and_announce_the_end())
    (event,) = talk.events
    assert isinstance(event, Answered)
    assert (event.exchange, event.response.body) == (exchange, b"ok")
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.SERVER_ANNOUNCED)
    assert talk.machine.unserved == 0


def test_nonsense_ends_what_is_open(talk: Talk) -> None:
    exchange = talk.send()
    talk.up()
    talk.down(talk.end.nonsense())
    (event,) = talk.events
    assert isinstance(event, Failed)
    assert (event.exchange, event.sent) == (exchange, Sent.ALL)
    assert (talk.machine.room, talk.machine.closing) == (0, CloseReason.PROTOCOL_ERROR)


def test_without_room_nothing_can_be_sent(talk: Talk) -> None:
    while talk.machine.room:
        talk.send()
    with pytest.raises(RuntimeError, match="without room"):
        talk.send()


@pytest.mark.parametrize("name", [b"Bad Name", b"Content-Length", b"Transfer-Encoding"])
def test_a_head_that_would_change_the_shape_of_the_message_is_refused(talk: Talk, name: bytes) -> None:
    head = dataclasses.replace(POST, fields=((name, b"1"),))
    with pytest.raises(ValueError, match=r"."):
        talk.send(head)
    talk.send()
    talk.up()
    assert talk.end.bodies == [BODY]


@given(
    name=st.sampled_from(list(ENDS)),
    bodies=st.lists(st.binary(max_size=40_000), min_size=1, max_size=5),
    size=st.integers(1, 50_000),
    status=st.sampled_from([200, 201, 400, 503]),
)
def test_bodies_arrive_as_they_are(name: str, bodies: list[bytes], size: int, status: int) -> None:
    talk = Talk(ENDS[name])
    for body in bodies:
        exchange = talk.send(body=body)
        talk.up()
        assert talk.end.bodies[-1] == body
        talk.down(talk.end.begin(len(body), status) + talk.end.go_on(body, is_last=True), size)
        event = talk.events[-1]
        assert isinstance(event, Answered)
        assert event.exchange is exchange
        assert (event.response.status, event.response.body) == (status, body)
    assert len(talk.events) == len(bodies)
