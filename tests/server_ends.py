"""The server's end of one connection in either protocol, spoken by independent implementations: h11 and h2.

end = ENDS["h2"]()
sock.sendall(end.greeting())
end.receive(sock.recv(65_536))
sock.sendall(end.answer())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import h2.config
import h2.connection
import h2.events
import h11
from h2.settings import SettingCodes, Settings

from livepost.wire.http1 import Http1Machine
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Machine

OK = b"ok"

STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS
WINDOW = SettingCodes.INITIAL_WINDOW_SIZE


class ServerEnd(Protocol):
    """What it says is returned, what it is asked is in `bodies`."""

    bodies: list[bytes]
    """Of the requests that came wholly."""
    begun: int
    """How many requests have begun to come."""

    @staticmethod
    def machine(max_response_bytes: int = 1_000_000) -> Machine:
        """The other end."""

    def greeting(self) -> bytes: ...

    def receive(self, data: bytes) -> bytes:
        """Take what has come; what is to be said to that at once."""

    def answer(self, body: bytes = OK, status: int = 201) -> bytes:
        """To the oldest request that was not answered."""

    def begin(self, size: int, status: int = 201) -> bytes:
        """The head of an answer with so long a body; `go_on` says that."""

    def go_on(self, data: bytes, *, is_last: bool) -> bytes: ...

    def say_continue(self) -> bytes: ...

    def answer_and_announce_the_end(self) -> bytes:
        """The last answer, and that it is the last."""

    def nonsense(self) -> bytes:
        """What no server of this protocol says."""


class Http1End:
    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 24)
        self._body = bytearray()
        self.bodies: list[bytes] = []
        self.begun = 0

    @staticmethod
    def machine(max_response_bytes: int = 1_000_000) -> Machine:
        return Http1Machine(max_response_bytes=max_response_bytes)

    def greeting(self) -> bytes:
        return b""

    def receive(self, data: bytes) -> bytes:
        if data:
            self._connection.receive_data(data)
        while (event := self._connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self.begun += 1
                self._body.clear()
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.bodies.append(bytes(self._body))
            else:
                break
        return b""

    def answer(self, body: bytes = OK, status: int = 201) -> bytes:
        return self.begin(len(body), status) + self.go_on(body, is_last=True)

    def begin(self, size: int, status: int = 201, *fields: tuple[str, str]) -> bytes:
        headers = [("Content-Length", str(size)), *fields]
        return self._connection.send(h11.Response(status_code=status, headers=headers)) or b""

    def go_on(self, data: bytes, *, is_last: bool) -> bytes:
        said = self._connection.send(h11.Data(data=data)) or b""
        if is_last:
            said += self._connection.send(h11.EndOfMessage()) or b""
            if self._connection.our_state is h11.DONE and self._connection.their_state is h11.DONE:
                self._connection.start_next_cycle()
                self.receive(b"")
        return said

    def say_continue(self) -> bytes:
        response = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
        return self._connection.send(response) or b""

    def answer_and_announce_the_end(self) -> bytes:
        return self.begin(len(OK), 201, ("Connection", "close")) + self.go_on(OK, is_last=True)

    def nonsense(self) -> bytes:
        return b"SSH-2.0-OpenSSH_9.6\r\n\r\n"


class Http2End:
    def __init__(self, settings: Mapping[SettingCodes, int] | None = None) -> None:
        config = h2.config.H2Configuration(client_side=False)
        self.connection = h2.connection.H2Connection(config)
        values = {STREAMS: 100, **(settings or {})}
        self.connection.local_settings = Settings(client=False, initial_values=values)
        self.connection.initiate_connection()
        self._bodies: dict[int, bytearray] = {}
        self.unanswered: list[int] = []
        """Streams, the oldest first."""
        self.reset: list[int] = []
        self.bodies: list[bytes] = []
        self.begun = 0
        self.goodbye: int | None = None
        """The error code of the client's GOAWAY."""

    @staticmethod
    def machine(max_response_bytes: int = 1_000_000) -> Machine:
        return Http2Machine(max_response_bytes=max_response_bytes)

    def greeting(self) -> bytes:
        return self._said()

    def receive(self, data: bytes) -> bytes:
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.begun += 1
                self._bodies[event.stream_id] = bytearray()
                self.unanswered.append(event.stream_id)
            elif isinstance(event, h2.events.DataReceived):
                self._bodies[event.stream_id] += event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.bodies.append(bytes(self._bodies[event.stream_id]))
            elif isinstance(event, h2.events.StreamReset):
                self.reset.append(event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goodbye = int(event.error_code or 0)
        return self._said()

    def answer(self, body: bytes = OK, status: int = 201) -> bytes:
        return self.begin(len(body), status) + self.go_on(body, is_last=True)

    def begin(self, size: int, status: int = 201) -> bytes:
        headers = [(":status", str(status)), ("content-length", str(size))]
        self.connection.send_headers(self.unanswered[0], headers)
        return self._said()

    def go_on(self, data: bytes, *, is_last: bool) -> bytes:
        stream_id = self.unanswered[0]
        while len(data) > 16_384:
            self.connection.send_data(stream_id, data[:16_384])
            data = data[16_384:]
        self.connection.send_data(stream_id, data, end_stream=is_last)
        if is_last:
            del self.unanswered[0]
        return self._said()

    def say_continue(self) -> bytes:
        self.connection.send_headers(self.unanswered[0], [(":status", "100")])
        return self._said()

    def answer_and_announce_the_end(self) -> bytes:
        # With last_stream_id, h2 takes it for the end of everything.
        return self.announce_the_end(self.unanswered[0]) + self.answer()

    def announce_the_end(self, last: int, code: int = 0) -> bytes:
        """GOAWAY, and nothing of h2's own about it, which would send nothing any more."""
        return bytes((0, 0, 8, 7, 0, 0, 0, 0, 0)) + last.to_bytes(4, "big") + code.to_bytes(4, "big")

    def refuse(self, code: int) -> bytes:
        """RST_STREAM for the oldest."""
        self.connection.reset_stream(self.unanswered.pop(0), code)
        return self._said()

    def change(self, settings: Mapping[SettingCodes, int]) -> bytes:
        self.connection.update_settings({int(number): value for number, value in settings.items()})
        return self._said()

    def open_no_more_window(self) -> None:
        """What comes is taken, and makes no room for more."""
        self.connection.acknowledge_received_data = lambda *arguments: None  # type: ignore[method-assign]

    def nonsense(self) -> bytes:
        return bytes((0, 0, 1, 6, 0, 0, 0, 0, 0)) + b"x"

    def _said(self) -> bytes:
        return self.connection.data_to_send()


def streams(count: int) -> Http2End:
    """One that takes so many requests at a time."""
    return Http2End({STREAMS: count})


ENDS: dict[str, Callable[[], ServerEnd]] = {"http/1.1": Http1End, "h2": Http2End}
