"""h2, an independent implementation, on the other side of the connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from h2.settings import SettingCodes
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.frames import ErrorCode
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Answered, Event, Failed
from livepost.wire.message import Exchange, Fields, RequestHead
from livepost.wire.request_head import ENGINE_FIELDS

MAX_RESPONSE_BYTES = 30_000
MOST_OPEN = 7

unsaid = ENGINE_FIELDS | {b"expect", b"proxy-connection"}
token = st.text(st.sampled_from("!#$%&'*+-.^_`|~09az"), min_size=1, max_size=6).map(str.encode)
value = st.text(st.sampled_from("!%/?:@[]~09azAZ"), max_size=9).map(str.encode)
fields = st.lists(st.tuples(token.filter(lambda name: name not in unsaid), value), max_size=3).map(tuple)
cuts = st.lists(st.integers(1, 70_000) | st.integers(1, 30), min_size=1, max_size=4)
heads = st.builds(
    RequestHead,
    method=st.sampled_from([b"POST", b"POST", b"PUT", b"GET", b"HEAD"]),
    target=value.map(lambda rest: b"/" + rest),
    authority=st.just(b"localhost:8080"),
    scheme=st.just(b"https"),
    fields=fields,
    expect_continue=st.booleans(),
)
ALIKE = RequestHead(b"POST", b"/api", b"localhost:8080", b"https", ((b"accept", b"*/*"),))


@dataclass
class Asked:
    """A request as the server sees it."""

    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    is_whole: bool = False


class Server:
    """h2 as the server, and what it was asked."""

    def __init__(self, initial: dict[SettingCodes, int]) -> None:
        config = h2.config.H2Configuration(client_side=False, validate_outbound_headers=False)
        self.connection = h2.connection.H2Connection(config)
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values=initial)
        self.connection.initiate_connection()
        self.asked: dict[int, Asked] = {}
        self.reset: set[int] = set()
        self.unacknowledged = 1
        """h2 takes any acknowledgement for that of everything it has set."""

    def receive(self, data: bytes) -> None:
        for said in self.connection.receive_data(data):
            stream_id = getattr(said, "stream_id", 0)
            if isinstance(said, h2.events.RequestReceived):
                self.asked[stream_id] = Asked([(bytes(name), bytes(text)) for name, text in said.headers])
            elif isinstance(said, h2.events.DataReceived):
                self.asked[stream_id].body += said.data
            elif isinstance(said, h2.events.StreamEnded):
                self.asked[stream_id].is_whole = True
            elif isinstance(said, h2.events.StreamReset):
                self.reset.add(stream_id)
            elif isinstance(said, h2.events.SettingsAcknowledged):
                self.unacknowledged -= 1
            else:
                assert not isinstance(said, h2.events.ConnectionTerminated), said


@dataclass
class Planned:
    """An answer, and what is still to be said of it."""

    status: int
    fields: Fields
    body: bytes
    trailers: Fields
    said: int = 0
    is_told: bool = False


@dataclass(eq=False)
class Attempt:
    exchange: Exchange
    is_known_to_be_http2: bool
    """It was sent after the server's greeting."""
    planned: Planned | None = None
    ended: Event | None = None
    resets: list[ErrorCode] = field(default_factory=list)


class Conversation(RuleBasedStateMachine):
    """Anything may happen in any order; bytes are cut anywhere both ways."""

    server: Server

    @initialize(
        window=st.sampled_from([65_535, 1_000, 0, 1 << 20]),
        table=st.sampled_from([4_096, 0, 100, 65_536]),
        streams=st.sampled_from([None, 1, 3, 100]),
    )
    def greet(self, window: int, table: int, streams: int | None) -> None:
        initial = {SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.HEADER_TABLE_SIZE: table}
        if streams is not None:
            initial[SettingCodes.MAX_CONCURRENT_STREAMS] = streams
        self.server = Server(initial)
        self.machine = Http2Machine(max_response_bytes=MAX_RESPONSE_BYTES, most_open=MOST_OPEN)
        self.attempts: dict[int, Attempt] = {}
        self.held: set[int] = set()
        self.is_greeted = False
        self.written = 0
        """Bytes of ours that the server has."""
        self.up = self.down = b""
        """What is under way."""

    # What the client does.

    @precondition(lambda self: self.machine.room)
    @rule(
        head=heads,
        size=st.sampled_from([0, 1, 200, 16_383, 16_384, 16_385, 40_000, 70_000, 300_000]),
        own=fields,
    )
    def send(self, head: RequestHead, size: int, own: Fields) -> None:
        exchange = Exchange(head, bytes(range(250)) * (size // 250) + b"x" * (size % 250), fields=own)
        self.machine.send(exchange)
        self.attempts[1 + 2 * len(self.attempts)] = Attempt(exchange, self.is_greeted)

    @precondition(lambda self: self.machine.room)
    @rule(size=st.sampled_from([200, 300]), own=st.just(()) | fields)
    def send_alike(self, size: int, own: Fields) -> None:
        while self.machine.room:
            self.send(ALIKE, size, own)

    @precondition(lambda self: self.is_greeted and self.machine.body_held)
    @rule()
    def release(self) -> None:
        # After the greeting: h2 wants its windows to be kept before it has told them.
        self.machine.release_body()

    @precondition(lambda self: len(self.still_open()) > 2)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        stream_id = data.draw(st.sampled_from(self.still_open()))
        self.note(self.machine.cancel(self.attempts[stream_id].exchange))
        assert self.attempts[stream_id].ended is not None

    @rule()
    def ping(self) -> None:
        self.machine.ping()

    # What goes between them.

    @rule()
    def write(self) -> None:
        self.up += self.machine.take_output()

    @precondition(lambda self: self.up)
    @rule(sizes=cuts)
    def carry_up(self, sizes: list[int]) -> None:
        for size in sizes:
            piece, self.up = self.up[:size], self.up[size:]
            if piece:
                self.written += len(piece)
                self.server.receive(piece)
        self.compare_requests()

    @rule(sizes=cuts)
    def carry_down(self, sizes: list[int]) -> None:
        self.down += self.server.connection.data_to_send()
        for size in sizes:
            piece, self.down = self.down[:size], self.down[size:]
            if piece:
                self.note(self.machine.receive(piece))
                self.is_greeted = self.machine._upkeep.peer.are_known

    @rule()
    def carry_all(self) -> None:
        """Until nobody has anything to say."""
        while True:
            self.write()
            self.carry_up([len(self.up)])
            self.down += self.server.connection.data_to_send()
            if not self.down:
                break
            self.carry_down([len(self.down)])
        assert not self.machine._upkeep.ping_open

    # What the server does.

    @rule(increment=st.integers(1, 100_000))
    def widen(self, increment: int) -> None:
        self.server.connection.increment_flow_control_window(increment)
        for stream_id in self.alive():
            if not self.server.asked[stream_id].is_whole:
                self.server.connection.increment_flow_control_window(increment, stream_id)

    @precondition(lambda self: not self.server.unacknowledged)
    @rule(
        window=st.sampled_from([0, 300, 65_535, 100_000]),
        table=st.sampled_from([0, 120, 4_096, 65_536]),
        streams=st.sampled_from([0, 1, 5, 1_000]),
        frame=st.sampled_from([16_384, 20_000, 1 << 20]),
        which=st.integers(1, 15),
    )
    def change_settings(self, which: int, **values: int) -> None:
        codes = {
            "window": SettingCodes.INITIAL_WINDOW_SIZE,
            "table": SettingCodes.HEADER_TABLE_SIZE,
            "streams": SettingCodes.MAX_CONCURRENT_STREAMS,
            "frame": SettingCodes.MAX_FRAME_SIZE,
        }
        changes: dict[SettingCodes | int, int] = {
            codes[name]: values[name] for bit, name in enumerate(codes) if which >> bit & 1
        }
        self.server.connection.update_settings(changes)
        self.server.unacknowledged += 1

    @rule()
    def server_pings(self) -> None:
        self.server.connection.ping(b"12345678")

    @precondition(lambda self: self.unanswered())
    @rule(
        data=st.data(),
        status=st.sampled_from([200, 201, 204, 304, 404, 500]),
        extra=fields,
        size=st.sampled_from([0, 29, 29, 29, 16_384, 20_000, 35_000]),
        says_length=st.booleans(),
        trailers=st.just(()) | fields,
        interim=st.lists(st.sampled_from([100, 103]), max_size=2),
    )
    def begin_answers(
        self, data: st.DataObject, status: int, extra: Fields, size: int, says_length: bool, **more: Any
    ) -> None:
        for stream_id in some(data, self.unanswered()):
            for code in more["interim"]:
                self.server.connection.send_headers(stream_id, [(b":status", b"%d" % code)])
            has_body = self.attempts[stream_id].exchange.head.method != b"HEAD" and status not in (204, 304)
            body = b"b" * size if has_body else b""
            given = (*extra, (b"content-length", b"%d" % size)) if says_length and status != 204 else extra
            planned = Planned(status, given, body, more["trailers"] if has_body else ())
            planned.is_told = not body and not planned.trailers
            self.attempts[stream_id].planned = planned
            self.server.connection.send_headers(
                stream_id, [(b":status", b"%d" % status), *given], end_stream=planned.is_told
            )

    @precondition(lambda self: self.begun())
    @rule(data=st.data(), padding=st.none() | st.integers(0, 255), size=st.sampled_from([100, 9_000, 16_000]))
    def go_on_with_answers(self, data: st.DataObject, padding: int | None, size: int) -> None:
        connection = self.server.connection
        for stream_id in some(data, self.begun()):
            planned = self.attempts[stream_id].planned
            assert planned is not None
            piece = planned.body[planned.said : planned.said + size]
            if not piece:
                connection.send_headers(stream_id, list(planned.trailers), end_stream=True)
                planned.is_told = True
            elif connection.local_flow_control_window(stream_id) > len(piece) + (padding or 0):
                planned.said += len(piece)
                planned.is_told = planned.said == len(planned.body) and not planned.trailers
                connection.send_data(stream_id, piece, end_stream=planned.is_told, pad_length=padding)

    @precondition(lambda self: len(self.alive()) > 1)
    @rule(
        data=st.data(),
        code=st.sampled_from(
            [ErrorCode.REFUSED_STREAM, ErrorCode.INTERNAL_ERROR, ErrorCode.ENHANCE_YOUR_CALM]
        ),
    )
    def server_resets(self, data: st.DataObject, code: ErrorCode) -> None:
        stream_id = data.draw(st.sampled_from(self.alive()))
        self.server.connection.reset_stream(stream_id, code)
        self.server.reset.add(stream_id)
        self.attempts[stream_id].resets.append(code)

    # What is known, and what must hold.

    def alive(self) -> list[int]:
        """The streams on which the server may say something."""
        return [
            stream_id
            for stream_id in self.server.asked
            if stream_id not in self.server.reset
            and ((planned := self.attempts[stream_id].planned) is None or not planned.is_told)
        ]

    def unanswered(self) -> list[int]:
        return [stream_id for stream_id in self.alive() if self.attempts[stream_id].planned is None]

    def begun(self) -> list[int]:
        return [stream_id for stream_id in self.alive() if self.attempts[stream_id].planned is not None]

    def still_open(self) -> list[int]:
        return [stream_id for stream_id, attempt in self.attempts.items() if attempt.ended is None]

    def compare_requests(self) -> None:
        """What the server has of a request is what was meant."""
        for stream_id, asked in self.server.asked.items():
            exchange = self.attempts[stream_id].exchange
            head, body = exchange.head, exchange.body
            expected = [
                (b":method", head.method),
                (b":scheme", head.scheme),
                (b":authority", head.authority),
                (b":path", head.target),
                *head.fields,
            ]
            if head.expect_continue and body:
                expected.append((b"expect", b"100-continue"))
            if body or head.method in (b"POST", b"PUT"):
                expected.append((b"content-length", b"%d" % len(body)))
            assert asked.headers == [*expected, *exchange.fields]
            assert body.startswith(asked.body)
            assert asked.body == body or not asked.is_whole
            assert asked.body == b"" or stream_id not in self.held

    def note(self, events: list[Event]) -> None:
        """Each exchange ends once, and as the server meant it."""
        for said in events:
            (stream_id,) = [
                number for number, attempt in self.attempts.items() if attempt.exchange is said.exchange
            ]
            attempt = self.attempts[stream_id]
            assert attempt.ended is None
            attempt.ended = said
            if isinstance(said, Failed):
                event(f"failed: {said.sent.value} ({said.reason})")
                if said.sent is Sent.REFUSED and ErrorCode.REFUSED_STREAM not in attempt.resets:
                    # Its body was held, and does not go out any more.
                    assert attempt.exchange.head.expect_continue or not attempt.is_known_to_be_http2
                    self.held.add(stream_id)
                continue
            planned, response = attempt.planned, said.response
            event("answered" if response.complete else "answered in part")
            assert planned is not None
            assert (response.status, response.fields) == (planned.status, planned.fields)
            if response.complete:
                assert planned.is_told
                assert (response.body, response.trailers) == (planned.body, planned.trailers)
            else:
                assert planned.body.startswith(response.body)
                assert len(response.body) <= MAX_RESPONSE_BYTES

    @invariant()
    def the_numbers_agree(self) -> None:
        if not hasattr(self, "machine"):
            return
        open_ones = [self.attempts[stream_id].exchange for stream_id in self.still_open()]
        assert [exchange for exchange, _ in self.machine.waiting()] == open_ones
        assert self.machine.open_exchanges == len(open_ones)
        assert 0 <= self.machine.room <= MOST_OPEN - len(open_ones)
        assert self.machine.closing in (None, CloseReason.EXHAUSTED)

    def teardown(self) -> None:
        """Cut the connection here: what the machine says of the requests is what the server has."""
        if not hasattr(self, "machine"):
            return
        open_ones = self.still_open()
        self.note(self.machine.end(written=self.written, reason="cut", orderly=False))
        assert self.still_open() == []
        for stream_id in open_ones:
            said, asked = self.attempts[stream_id].ended, self.server.asked.get(stream_id)
            # What comes on a stream that it has reset, the server looks at no more.
            if isinstance(said, Answered) or stream_id in self.server.reset:
                continue
            assert isinstance(said, Failed)
            if said.sent is Sent.NOTHING:
                assert asked is None
            elif said.sent is Sent.ALL:
                assert asked is not None
                assert asked.is_whole
            else:
                assert asked is None or not asked.is_whole


def some(data: st.DataObject, stream_ids: list[int]) -> list[int]:
    """All of them, or one."""
    return data.draw(st.just(stream_ids) | st.sampled_from(stream_ids).map(lambda one: [one]))


def test_whatever_happens_both_sides_understand_each_other() -> None:
    run_state_machine_as_test(
        Conversation, settings=settings(deadline=None, max_examples=150, stateful_step_count=50)
    )
