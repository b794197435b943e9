"""A protocol machine in conversation with a test: what was sent, what came back, what is left open.

talk = Talk(POST)                 # a connection on which one request went out
talk.receive(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi", size=1)
assert talk.response().body == b"hi"
assert talk.state() == IDLE
"""

from __future__ import annotations

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.http1 import Http1Machine
from livepost.wire.machine import Answered, Event, Failed, Machine, Stage
from livepost.wire.message import Exchange, RequestHead, Response

State = tuple[int, int, bool, CloseReason | None]


def request_head(method: bytes = b"POST", **options: bool) -> RequestHead:
    return RequestHead(method, b"/api", b"localhost:8080", b"http", ((b"Accept", b"*/*"),), **options)


BODY = b'{"n": 1}'
POST = request_head()
HEAD = request_head(b"HEAD")
EXPECT = request_head(expect_continue=True)
CLOSE = request_head(close=True)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
OK_RESPONSE = Response(200, ((b"content-length", b"2"),), b"hi")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


def answer(*fields: bytes, body: bytes = b"", version: bytes = b"1.1", status: int = 200) -> bytes:
    return b"\r\n".join((b"HTTP/%b %d Any" % (version, status), *fields, b"", body))


def head_received(machine: Machine) -> bool:
    """The final response head of the oldest open exchange has come."""
    return next((stage for _, stage in machine.waiting()), None) is Stage.ANSWERING


IDLE: State = (1, 0, False, None)
WAITING: State = (0, 1, False, None)
IN_BODY: State = (0, 1, True, None)


def closing(reason: CloseReason) -> State:
    """Nothing is open and nothing will be, because of this."""
    return 0, 0, False, reason


class Talk:
    """A machine, and all that it was given and said on its connection."""

    def __init__(self, *heads: RequestHead, max_response_bytes: int = 1_000_000) -> None:
        self.machine = Http1Machine(max_response_bytes=max_response_bytes)
        self.exchange = Exchange(POST, b"")
        self.events: list[Event] = []
        self.output = b""
        for head in heads:
            self.send(head)

    def send(self, head: RequestHead = POST, body: bytes = BODY) -> bytes:
        self.exchange = Exchange(head, body)
        self.machine.send(self.exchange)
        return self.take()

    def take(self) -> bytes:
        """What is to be written now."""
        output = self.machine.take_output()
        self.output += output
        return output

    def receive(self, data: bytes, size: int = 0) -> list[Event]:
        """Give the data in pieces of this size, or at once; the events it led to."""
        size = size or len(data) or 1
        events: list[Event] = []
        for start in range(0, len(data), size):
            events += self.machine.receive(data[start : start + size])
        self.events += events
        return events

    def end(self, written: int = 0, *, orderly: bool = False) -> list[Event]:
        events = self.machine.end(written=written, reason="the reason", orderly=orderly)
        self.events += events
        return events

    def response(self) -> Response:
        """Of the only event: an answer to the exchange sent last."""
        (event,) = self.events
        assert isinstance(event, Answered)
        assert event.exchange is self.exchange
        return event.response

    def failure(self) -> tuple[Sent, str]:
        """Of the only event: the failure of the exchange sent last."""
        (event,) = self.events
        assert isinstance(event, Failed)
        assert event.exchange is self.exchange
        return event.sent, event.reason

    def state(self) -> State:
        """Room, open exchanges, whether the final head has come, why it closes."""
        machine = self.machine
        return machine.room, machine.open_exchanges, head_received(machine), machine.closing
