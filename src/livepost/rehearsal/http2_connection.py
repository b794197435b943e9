"""One connection of the practice server that speaks HTTP/2.

h2 (python-hyper) knows the protocol.  What it leaves to us, or cannot, is kept here: answers and
their flow control, the limits, and a GOAWAY after which what is open goes on (h2 would end it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from livepost.rehearsal.api import STATS_PATH, Answer
from livepost.rehearsal.endpoint import Endpoint, State
from livepost.rehearsal.http2_stream import Http2Stream
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.reply import After, Reply, error_reply, has_date
from livepost.rehearsal.stats import EndReason
from livepost.rehearsal.visit import Visit
from livepost.wire.frames import GOAWAY, LARGEST_STREAM, ErrorCode, frame_head

_OF_PINGS = (h2.events.PingReceived, h2.events.PingAckReceived)


class Http2Connection(Endpoint):
    """Answers every request as soon as it is complete and its latency over, in whatever order that is."""

    def __init__(
        self, visit: Visit, answer: Answer, limits: ServerLimits, latency: Latency | None = None
    ) -> None:
        super().__init__(visit, limits)
        self._answer = answer
        self._latency = latency
        # Fields of an answer may be as wrong as a script wants them.
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, Http2Stream] = {}
        """Open ones that we serve."""
        self._requests = 0
        self._last_stream = 0
        """The last one that we serve."""
        self._ended: set[int] = set()
        """Streams whose request ended in what came last."""
        self._leaving: After | None = None
        """How it ends once the open streams are over; those after the last are not served any more."""
        self._handlers: dict[type[h2.events.Event], Callable[[Any], None]] = {
            h2.events.RequestReceived: self._on_head,
            h2.events.DataReceived: self._on_data,
            h2.events.StreamEnded: self._on_end,
            h2.events.WindowUpdated: self._on_window,
            h2.events.RemoteSettingsChanged: self._on_settings,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._state is not State.OPEN:
            return
        self._visit.speaks_http2()
        codes = h2.settings.SettingCodes
        settings = self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
                codes.MAX_HEADER_LIST_SIZE: self._limits.max_head_bytes,
            },
        )
        self._h2.decoder.max_header_list_size = self._limits.max_head_bytes
        self._h2.initiate_connection()
        # What is said; but h2 would break the connection for one stream too many, and we refuse it.
        settings[codes.MAX_CONCURRENT_STREAMS] = LARGEST_STREAM
        settings.acknowledge()
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._state is not State.OPEN:
            self._disregard()
            return
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()  # h2's GOAWAY
            self._linger()
            return
        if self._idle_timeout is not None and self._are_signs_of_life(events):
            self._heard_at = self._loop.time()
        if any(type(said) is h2.events.ConnectionTerminated for said in events):
            self._close()  # h2 can answer nothing any more, so nothing is acted upon
            return
        # h2 is further than the events: at the end of all that came.
        self._ended = {said.stream_id for said in events if type(said) is h2.events.StreamEnded}
        gone = {said.stream_id for said in events if type(said) is h2.events.StreamReset}
        for said in events:
            handle = self._handlers.get(type(said))
            if handle is not None and (not gone or getattr(said, "stream_id", 0) not in gone):
                handle(said)
                if self._state is not State.OPEN:
                    return
        for stream_id in gone:
            self._forget(stream_id)
        self._go_on()

    def _are_signs_of_life(self, events: list[h2.events.Event]) -> bool:
        return self._limits.pings_count or not all(isinstance(said, _OF_PINGS) for said in events)

    def _on_head(self, said: h2.events.RequestReceived) -> None:
        stream_id = said.stream_id
        if self._leaving is not None:
            return
        if len(self._streams) >= self._limits.max_streams:
            self._h2.reset_stream(stream_id, ErrorCode.REFUSED_STREAM)
            return
        self._requests += 1
        self._last_stream = stream_id
        stream = Http2Stream(stream_id, self._requests, said.headers)
        self._streams[stream_id] = stream
        looks = stream.path == STATS_PATH
        if looks is not self._visit.only_looked:
            self._visit.note_look(stream.number, looks)
        self._check_limits()
        self._begin(stream)

    def _check_limits(self) -> None:
        limits = self._limits
        reason = None
        if limits.max_requests is not None and self._requests >= limits.max_requests:
            reason = EndReason.CAP
        elif limits.announces and self._is_too_old():
            reason = EndReason.AGE
        if reason is not None:
            self._visit.ends_for(reason)
            self._leave(After.CLOSE if limits.announces else After.DROP)

    def _begin(self, stream: Http2Stream) -> None:
        """Its head was read."""
        if any(name == b"expect" and value.lower() == b"100-continue" for name, value in stream.headers):
            self._h2.send_headers(stream.stream_id, [(b":status", b"100")])

    def _on_data(self, said: h2.events.DataReceived) -> None:
        if said.flow_controlled_length:
            self._h2.acknowledge_received_data(said.flow_controlled_length, said.stream_id)
        stream = self._streams.get(said.stream_id)
        if stream is None:
            return
        stream.take(said.data)
        limit = self._limits.max_body_bytes
        if stream.body_bytes > limit:
            self._refuse(stream, error_reply(413, f"the request body is larger than {limit} bytes"))

    def _refuse(self, stream: Http2Stream, reply: Reply) -> None:
        self._respond(stream, reply)

    def _on_end(self, said: h2.events.StreamEnded) -> None:
        stream = self._streams.get(said.stream_id)
        if stream is not None and not stream.is_whole:
            stream.is_whole = True
            self._serve(stream)

    def _serve(self, stream: Http2Stream) -> None:
        """The request was read to its end."""
        reply = self._answer(stream.request(self._visit.number))
        is_look = stream.path == STATS_PATH
        self._after_delay(stream, 0.0 if is_look else self._draw_latency(), self._respond, stream, reply)

    def _draw_latency(self) -> float:
        return 0.0 if self._latency is None else self._latency.draw()

    def _respond(self, stream: Http2Stream, reply: Reply) -> None:
        """Write an answer, or as much of it as the client's windows take."""
        if reply.raw is not None:
            self._respond_raw(stream, reply)
            return
        stream.unsent = self._begin_answer(stream, reply)
        self._push(stream)
        self._end_after(reply.after)

    def _begin_answer(self, stream: Http2Stream, reply: Reply) -> bytes:
        """Send the head, and return the body that is to follow; without one the answer is over."""
        fields = [(b":status", b"%d" % reply.status)]
        fields += [(name.lower(), value) for name, value in reply.headers]
        if (date := self._visit.date) and not has_date(reply.headers):
            fields.append((b"date", date))
        body = b""
        if reply.status not in (204, 304):
            fields.append((b"content-length", b"%d" % len(reply.body)))
            body = reply.body if stream.method != b"HEAD" else b""
        self._h2.send_headers(stream.stream_id, fields, end_stream=not body)
        return body

    def _respond_raw(self, stream: Http2Stream, reply: Reply) -> None:
        self._flush()
        if reply.raw:
            self._transport.write(reply.raw)
        self._end(reply.after)

    def _push(self, stream: Http2Stream) -> None:
        """Send of the body what there is room for; at its end the stream is over."""
        stream_id, data = stream.stream_id, stream.unsent or b""
        while data:
            room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
            if room <= 0:
                stream.unsent = data
                return
            self._h2.send_data(stream_id, data[:room], end_stream=len(data) <= room)
            data = data[room:]
        self._finish(stream)

    def _finish(self, stream: Http2Stream) -> None:
        """Its answer is written."""
        if not stream.is_whole and stream.stream_id not in self._ended:
            # The client need not send the rest (RFC 9113 section 8.1).
            self._h2.reset_stream(stream.stream_id, ErrorCode.NO_ERROR)
        self._forget(stream.stream_id)

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.cancel()

    def _end_after(self, how: After) -> None:
        """What becomes of the connection after an answer."""
        if how is After.CLOSE:
            self._leave(how)
        elif how is not After.KEEP:
            self._flush()
            self._end(how)

    def _leave(self, how: After) -> None:
        """Serve no stream after the last one, and end when the open ones are over."""
        if self._leaving is None:
            self._leaving = how
            if how is After.CLOSE:
                self._say_goodbye()

    def _say_goodbye(self) -> None:
        self._flush()
        payload = self._last_stream.to_bytes(4, "big") + ErrorCode.NO_ERROR.to_bytes(4, "big")
        self._transport.write(frame_head(GOAWAY, len(payload)) + payload)

    def _on_window(self, said: h2.events.WindowUpdated) -> None:
        if said.stream_id:
            self._push_if_waiting(said.stream_id)
        else:
            self._push_all()

    def _on_settings(self, said: h2.events.RemoteSettingsChanged) -> None:
        self._push_all()

    def _push_all(self) -> None:
        for stream_id in tuple(self._streams):
            self._push_if_waiting(stream_id)

    def _push_if_waiting(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and stream.unsent is not None:
            self._push(stream)

    def _after_delay(
        self, stream: Http2Stream, seconds: float, act: Callable[..., object], *arguments: object
    ) -> None:
        if seconds > 0:
            self._hold(stream, seconds, act, *arguments)
        else:
            act(*arguments)

    def _hold(
        self, stream: Http2Stream, seconds: float, act: Callable[..., object], *arguments: object
    ) -> None:
        stream.timer = self._loop.call_later(seconds, self._act, stream, act, arguments)

    def _act(self, stream: Http2Stream, act: Callable[..., object], arguments: tuple[object, ...]) -> None:
        stream.timer = None
        if self._state is not State.OPEN:
            return
        if self._idle_timeout is not None:
            self._heard_at = self._loop.time()
        act(*arguments)
        if self._state is State.OPEN:
            self._go_on()

    def _go_on(self) -> None:
        """Write what there is, and end if nothing is left to be done."""
        self._flush()
        if self._streams:
            return
        if self._leaving is not None:
            self._end(self._leaving)
        elif not self._limits.announces and self._is_too_old():
            self._come_of_age()

    def _is_busy(self) -> bool:
        return any(stream.is_whole for stream in self._streams.values())

    def _settle(self) -> None:
        super()._settle()
        for stream in self._streams.values():
            stream.cancel()
        self._streams.clear()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
