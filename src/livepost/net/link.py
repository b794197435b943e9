"""The socket of a connection: reading, writing, and the one way out.

Plain and TLS sockets are used alike, without a transport: measured four times cheaper over TLS.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import TypeGuard

from livepost.events import CloseReason, ConnectionClosed, HttpVersion
from livepost.model import Sent
from livepost.net.connection_state import TRANSITIONS, ConnectionState
from livepost.net.deadlines import NEVER
from livepost.net.poller import LEAVING
from livepost.net.surroundings import Surroundings
from livepost.net.tls import refuses_certificate
from livepost.wire.machine import Event, Failed, Machine
from livepost.wire.message import Exchange

# One TLS record is at most 16 KiB, so a read always empties OpenSSL's own buffer and readiness of
# the socket is all there is to wait for.
READ_BYTES = 65_536

_TLS_RECORD_BYTES = 16_384

NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_SENT = (Sent.SOME, Sent.ALL)

# Nobody would read a farewell.
_PEER_IS_GONE = frozenset((CloseReason.SERVER_IDLE, CloseReason.SERVER_CLOSED, CloseReason.RESET))

_CLOSED = ConnectionState.CLOSED
_ENDING = ConnectionState.ENDING


class Link:
    """A non-blocking socket and its protocol machine, until it is closed.

    It owns the socket and closes it on every path; `_closed(reason)` is called then, last of all.
    """

    __slots__ = (
        "_deadlines",
        "_machine",
        "_probe",
        "_read",
        "_shared",
        "_socket",
        "_unsent",
        "_write",
        "_written_at",
        "bytes_received",
        "bytes_sent",
        "deadline",
        "descriptor",
        "ended_from",
        "lost",
        "number",
        "probes",
        "queued_at",
        "refusal",
        "requests",
        "state",
    )

    def __init__(self, number: int, sock: socket.socket, machine: Machine, shared: Surroundings) -> None:
        self.number = number
        self.descriptor = sock.fileno()
        self.state = self.ended_from = ConnectionState.IDLE
        """`ended_from` is the state from which it was closed."""
        self.requests = self.probes = self.bytes_sent = self.bytes_received = 0
        """`requests` holds also the `probes`, which carry no record."""
        self.lost = 0
        """How many requests that the server may have were open at its end, and had no answer."""
        self.refusal: ssl.SSLError | None = None
        """By which the server, in the end, has not taken our certificate."""
        self.deadline = self.queued_at = NEVER
        self._socket = sock
        self._read: Callable[[int], bytes] = sock.recv
        self._write: Callable[[bytes | memoryview], int] = sock.send
        if isinstance(sock, ssl.SSLSocket):
            # What its recv and send call in the end, without their layers of Python (a sixth of the CPU
            # a record costs over TLS).  The name is private, so the public one stands by.
            inner = getattr(sock, "_sslobj", sock)
            self._read, self._write = inner.read, inner.write
        self._machine = machine
        self._shared = shared
        self._deadlines = shared.deadlines
        self._probe: Exchange | None = None
        """What is asked only to see whether the server is there."""
        self._unsent: memoryview | None = None
        self._written_at = 0.0
        """When the kernel had taken the last of what there was to write."""
        shared.poller.watch(self)

    @property
    def socket(self) -> socket.socket:
        return self._socket

    @property
    def http_version(self) -> HttpVersion:
        return self._machine.http_version

    @property
    def is_leaving(self) -> bool:
        """The kernel knows that the peer has closed or reset it."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN | LEAVING)
        return any(mask & LEAVING for _, mask in poll.poll(0))

    def take_in(self, mask: int, settled: list[Event], now: float) -> bool:
        raise NotImplementedError

    def carry(self, exchanges: list[Exchange], now: float) -> None:
        raise NotImplementedError

    def expire(self, now: float) -> None:
        raise NotImplementedError

    @property
    def room(self) -> int:
        return 0 if self.state is _CLOSED else self._machine.room

    @property
    def runs_dry(self) -> bool:
        return False

    def _closed(self, reason: CloseReason) -> None:
        raise NotImplementedError

    def _flush(self, now: float) -> bool:
        """Write what there is to write; False when the connection broke and was closed.

        What the kernel does not take waits until the socket is writable.
        """
        machine = self._machine
        unsent = self._unsent
        if unsent is not None:
            self._unsent = None
            if not self._put(unsent, now):
                return False
            if self._unsent is None:
                self._shared.poller.want_writable(self, False)
        while self._unsent is None and (output := machine.take_output()):
            if not self._put(output, now):
                return False
        return True

    def _put(self, output: bytes | memoryview, now: float) -> bool:
        """Write this, of which nothing was written so far; False when the connection broke and was closed."""
        write = self._write
        try:
            sent = write(output)
        except NOT_NOW:
            sent = 0
        except OSError as error:
            self._unsent = memoryview(output)
            self._write_failed(error)
            return False
        self.bytes_sent += sent
        if sent == len(output):
            self._written_at = now
        else:
            self._unsent = memoryview(output)[sent:]
            self._shared.poller.want_writable(self, True)
        return True

    def _write_failed(self, error: OSError) -> None:
        """A server that answers early (413, 401) and closes has left its answer for us to read."""
        machine = self._machine
        try:
            while machine.open_exchanges and (data := self._read(READ_BYTES)):
                self.bytes_received += len(data)
                self._settle(machine.receive(data))
        except OSError as read_error:
            if self._has_refused_certificate(read_error):
                error = read_error
        if self.state is not _CLOSED:
            self._end_by_error(error)

    def _end_by_error(self, error: OSError) -> None:
        if self._has_refused_certificate(error):
            self.refusal = error
        is_refused = self.refusal is not None
        self._end(CloseReason.RESET, reason_of(error), orderly=False, is_refused=is_refused)

    def _has_refused_certificate(self, error: OSError) -> TypeGuard[ssl.SSLError]:
        """The server refused our certificate in its handshake, and so has read nothing that came behind it.

        In TLS 1.3 ours is over before that (RFC 8446 section 4.4).  In TLS 1.2, or once anything has come, it
        may have asked for another handshake in the middle.
        """
        if self.bytes_received or not isinstance(self._socket, ssl.SSLSocket):
            return False
        # After an error the socket does not tell its version any more.
        cipher = self._socket.cipher()
        return cipher is not None and cipher[1] == "TLSv1.3" and refuses_certificate(error)

    def _end(self, reason: CloseReason, explanation: str, *, orderly: bool, is_refused: bool = False) -> None:
        """Close the socket, settle what is open, tell the pool: the one way out.

        `is_refused`: it is proved that the peer received nothing of what is open.
        """
        self.ended_from = state = self.state
        self._enter(_CLOSED)
        self._deadlines.discard(self)
        if state is not _ENDING:
            self._shared.poller.forget(self)
        machine = self._machine
        announced = machine.closing
        events = machine.end(written=self._perhaps_written(), reason=explanation, orderly=orderly)
        if reason is CloseReason.SERVER_CLOSED:
            # A response that runs until close announces it.
            reason = machine.closing or reason
        elif reason is CloseReason.RESET:
            reason = announced or reason
        if is_refused:
            events = [_refused(event) for event in events]
        self.lost = sum(isinstance(event, Failed) and event.sent in _SENT for event in events)
        self._close_socket(says_goodbye=reason not in _PEER_IS_GONE)
        self._shared.observer.connection_closed(
            ConnectionClosed(
                self.number,
                self._explained(reason),
                self.requests - self.probes,
                self.bytes_sent,
                self.bytes_received,
                machine.http_version,
            )
        )
        self._settle(events, reason)
        self._closed(reason)

    def _perhaps_written(self) -> int:
        """How many bytes of all output the peer may have and be able to read.

        OpenSSL writes record by record, and says of a large output that it could not write it although some
        records went out.  The last of them is not whole then, and of no use to anybody.
        """
        if self._unsent is None or not isinstance(self._socket, ssl.SSLSocket):
            return self.bytes_sent
        return self.bytes_sent + max(0, len(self._unsent) - 1) // _TLS_RECORD_BYTES * _TLS_RECORD_BYTES

    def _explained(self, reason: CloseReason) -> CloseReason:
        """What is told of the reason."""
        return reason

    def _close_socket(self, *, says_goodbye: bool) -> None:
        with contextlib.suppress(OSError, ValueError):
            if says_goodbye and self._unsent is None and (farewell := self._machine.take_output()):
                self.bytes_sent += self._write(farewell)
        self._unsent = None
        if isinstance(self._socket, ssl.SSLSocket):
            # Say close_notify; do not wait for the peer's.
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()
        self._socket.close()

    def _settle(self, events: list[Event], cause: CloseReason | None = None) -> None:
        if self._probe is not None:
            events = self._without_probe(events)
        if events:
            self._shared.poller.settle(events, self._shared.clock(), cause)

    def _without_probe(self, events: list[Event]) -> list[Event]:
        return [event for event in events if event.exchange is not self._probe]

    def _enter(self, state: ConnectionState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"connection {self.number} cannot go from {self.state} to {state}")
        self.state = state


def _refused(event: Event) -> Event:
    if isinstance(event, Failed) and event.sent is not Sent.NOTHING:
        return Failed(event.exchange, Sent.REFUSED, event.reason)
    return event


def reason_of(error: OSError) -> str:
    """What the system or OpenSSL says, for a person."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').replace('_', ' ').lower()}"
    return (error.strerror or str(error)).lower()
