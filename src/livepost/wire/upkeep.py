"""The frames that keep a connection going, or end it (RFC 9113 sections 6.3 to 6.9)."""

from __future__ import annotations

from livepost.events import CloseReason
from livepost.model import Sent
from livepost.wire.frames import (
    ACK,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    SETTING_BYTES,
    SETTINGS_ACK,
    ConnectionFault,
    ErrorCode,
    check_size,
    code_name,
    ping_frame,
)
from livepost.wire.machine import Event
from livepost.wire.patience import Patience
from livepost.wire.settings import PeerSettings
from livepost.wire.streams import Streams

_REASON_OF_GOAWAY = {
    int(ErrorCode.NO_ERROR): CloseReason.SERVER_ANNOUNCED,
    int(ErrorCode.ENHANCE_YOUR_CALM): CloseReason.ENHANCE_YOUR_CALM,
    int(ErrorCode.HTTP_1_1_REQUIRED): CloseReason.HTTP_1_1_REQUIRED,
}


class Upkeep:
    """Reads those frames and answers them.

    Each `on_` method takes flags, stream and payload of a frame, and the list of events to add to; it
    raises ConnectionFault when the connection cannot go on.
    """

    __slots__ = ("_last_served", "_patience", "_pings", "_streams", "peer", "ping_open")

    def __init__(self, streams: Streams, peer: PeerSettings, patience: Patience) -> None:
        self._streams = streams
        self._patience = patience
        self._last_served = LARGEST_STREAM
        """The last stream that the server may have served, as its GOAWAY says."""
        self._pings = 0
        self.peer = peer
        self.ping_open = False

    @property
    def unserved(self) -> int:
        """How many streams were opened above the last that the server may have served."""
        return max(0, self._streams.next_id // 2 - (self._last_served + 1) // 2)

    def ping(self) -> None:
        """Say PING; `ping_open` until the server answers it."""
        if not self.ping_open:
            self._pings += 1
            self.ping_open = True
            self._streams.output.add(ping_frame(self._pings.to_bytes(8, "big")))

    def skip(self) -> None:
        """A frame of an unknown type."""
        self._patience.spend(self._streams.next_id)

    def on_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _check_is_connection(stream_id)
        # The size of a window is applied to all streams, each time that it is set.
        self._patience.spend(self._streams.next_id, max(1, len(payload) // SETTING_BYTES))
        if flags & ACK:
            check_size(payload, 0)
        else:
            self.peer.apply(payload)
            self._streams.output.add_within_limit(SETTINGS_ACK)

    def on_ping(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        _check_is_connection(stream_id)
        check_size(payload, 8)
        self._patience.spend(self._streams.next_id)
        if not flags & ACK:
            self._streams.output.add_within_limit(ping_frame(payload, ACK))
        elif int.from_bytes(payload, "big") == self._pings:
            self.ping_open = False

    def on_window_update(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        check_size(payload, 4)
        streams = self._streams
        self._patience.spend_on_window(streams.next_id, streams.uploads.output_bytes)
        increment = int.from_bytes(payload, "big") & LARGEST_WINDOW
        nothing = "the server widens a window by nothing"
        if stream_id == 0:
            if increment == 0:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, nothing)
            streams.uploads.widen(increment)
            return
        stream = streams.open.get(stream_id)
        if stream is None:
            streams.check_not_idle(stream_id)
        elif increment == 0:
            events.append(streams.refuse(stream_id, stream, ErrorCode.PROTOCOL_ERROR, nothing))
        elif not streams.uploads.widen_stream(stream, increment):
            reason = "the server made a stream's window too large"
            events.append(streams.refuse(stream_id, stream, ErrorCode.FLOW_CONTROL_ERROR, reason))

    def on_priority(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        streams = self._streams
        if stream_id == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server sent a stream's frame on no stream")
        self._patience.spend(streams.next_id)
        stream = streams.open.get(stream_id)
        if len(payload) != 5 and stream is not None:
            reason = "the server sent a malformed PRIORITY frame"
            events.append(streams.refuse(stream_id, stream, ErrorCode.FRAME_SIZE_ERROR, reason))

    def on_goaway(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """The streams above the last one named are refused; what comes of the others is awaited.

        A server that closes gracefully names the largest number first, and the true one later.
        """
        _check_is_connection(stream_id)
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "the server sent a malformed GOAWAY frame")
        streams = self._streams
        self._patience.spend(streams.next_id)
        # It must not rise (section 6.8); what was refused once stays refused.
        last = int.from_bytes(payload[:4], "big") & LARGEST_STREAM
        self._last_served = min(self._last_served, last)
        code = int.from_bytes(payload[4:8], "big")
        reason = _REASON_OF_GOAWAY.get(code, CloseReason.SERVER_ERROR)
        if streams.closing is CloseReason.SERVER_ANNOUNCED:
            streams.closing = reason
        streams.close(reason)
        text = f"the server closes the connection without having served it ({code_name(code)})"
        for refused in [number for number in streams.open if number > self._last_served]:
            events.append(streams.settle(refused, streams.open[refused], text, Sent.REFUSED))
            streams.ignore(refused)

    def on_push_promise(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server pushes, which we had switched off")


def _check_is_connection(stream_id: int) -> None:
    if stream_id != 0:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the server sent the connection's frame on a stream")
