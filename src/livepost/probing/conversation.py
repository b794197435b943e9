"""One connection of a probe: requests one after the other, and when and how the server ends it.

A connection of a delivery (`net.connection`) is made for many records and reports only why it ended; a
probe wants the moment of each end, and has no poller, no pool and no schedule.  What is said is left to
the same machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from livepost.clock import Clock
from livepost.config import Timeouts
from livepost.errors import DestinationError
from livepost.events import CloseReason, HttpVersion
from livepost.net.dial import Dialed
from livepost.probing.findings import Ending
from livepost.probing.samples import Samples
from livepost.wire.http1 import Http1Machine
from livepost.wire.http2 import Http2Machine
from livepost.wire.machine import Answered, Event, Stage
from livepost.wire.message import Exchange, RequestHead, Response

_READ_BYTES = 65_536
_HTTP_1_0 = b"HTTP/1.0"

# Our own kernel says so when keep-alives or data are acknowledged no more: it is nothing that the server did.
_UNHEARD = frozenset((errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH))

_WORDS_OF_ENDS = {
    Ending.FIN: "the server closed the connection",
    Ending.RESET: "the server reset the connection",
    Ending.DROPPED: "the connection was lost on the way",
}

_SETTING_NAMES = {
    1: "header_table_size",
    2: "enable_push",
    3: "max_concurrent_streams",
    4: "initial_window_size",
    5: "max_frame_size",
    6: "max_header_list_size",
    8: "enable_connect_protocol",
    9: "no_rfc7540_priorities",
}
"""The registry of HTTP/2 settings (RFC 9113, 8441 and 9218)."""


class NoAnswer(DestinationError):
    """A request came to nothing.  `was_silence` says that nothing happened until its time was up."""

    def __init__(self, message: str, hint: str = "", *, was_silence: bool = False) -> None:
        super().__init__(message, hint)
        self.was_silence = was_silence


class Goodbye(NamedTuple):
    """That and when a connection ended: by the server, or unheard of (DROPPED) by what is between."""

    at: float
    ending: Ending


class Conversation:
    """Owns the socket of `dialed` until the end of its `with` block.

    For one task at a time.
    """

    def __init__(self, dialed: Dialed, timeouts: Timeouts, samples: Samples, clock: Clock) -> None:
        self.address = dialed.address
        self.socket = dialed.socket
        self.http_version = dialed.http_version
        self._timeouts = timeouts
        self._samples = samples
        self._clock = clock
        self._machine: Http1Machine | Http2Machine = (
            Http2Machine() if dialed.http_version is HttpVersion.HTTP_2 else Http1Machine()
        )
        self._unsent = b""
        self._written = 0
        self._says_http_1_0 = False
        self._has_ended = False
        self.goodbye: Goodbye | None = None
        """When it was first known, in whatever way, that this connection takes no more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    @property
    def spoken(self) -> str:
        """The version of HTTP that the server speaks, by the name for people."""
        if self.http_version is HttpVersion.HTTP_2:
            return "HTTP/2"
        return "HTTP/1.0" if self._says_http_1_0 else "HTTP/1.1"

    @property
    def closing(self) -> CloseReason | None:
        """Why it takes no further request, or None while it may."""
        return self._machine.closing

    @property
    def settings(self) -> dict[str, int] | None:
        """What the server has set, by name; None over HTTP/1.1."""
        if isinstance(self._machine, Http1Machine):
            return None
        settings = self._machine.peer_settings
        return {_SETTING_NAMES.get(number, f"{number:#x}"): value for number, value in settings.items()}

    async def ask(self, head: RequestHead, seconds: float | None = None) -> Response:
        """Send this request and read its answer, within `seconds` (None: as the timeouts have it).

        Raises NoAnswer.
        """
        limit = self._timeouts.max_time if seconds is None else seconds
        await self._take_what_came()
        if self._machine.room == 0:
            raise NoAnswer("the server ended the connection")
        started = self._clock()
        self._samples.requests_sent += 1
        self._machine.send(Exchange(head, b""))
        try:
            event = await self._answer(limit, self._timeouts.response_header_timeout)
        except TimeoutError:
            waited = self._clock() - started
            raise NoAnswer(
                f"no answer came within {waited:.3g} s", "allow more with --max-time", was_silence=True
            ) from None
        if not isinstance(event, Answered):
            raise NoAnswer(event.reason)
        self._samples.answered(self._clock() - started, event.response)
        return event.response

    async def _answer(self, seconds: float | None, head_seconds: float | None) -> Event:
        """What became of the open request.  Raises TimeoutError."""
        began = asyncio.get_running_loop().time()
        limits = [limit for limit in (seconds, head_seconds) if limit is not None]
        async with asyncio.timeout(min(limits, default=None)) as timer:
            while True:
                await self._flush()
                events = await self._read()
                if events:
                    return events[0]
                if any(stage is Stage.ANSWERING for _, stage in self._machine.waiting()):
                    timer.reschedule(None if seconds is None else began + seconds)

    async def ping(self, seconds: float) -> float | None:
        """Send a PING, and return how long its answer took; None if none came within `seconds`.

        Only over HTTP/2.
        """
        started = self._clock()
        self._machine.ping()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._machine.ping_open and not self._has_ended:
                    await self._flush()
                    await self._read()
        was_answered = not self._machine.ping_open and self.goodbye is None
        return self._clock() - started if was_answered else None

    async def listen(self, seconds: float) -> Goodbye | None:
        """Say nothing until the server ends the connection, at most for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.goodbye is None:
                    await self._flush()
                    await self._read()
        return self.goodbye

    async def _take_what_came(self) -> None:
        """Read all that is there already, without waiting."""
        while self.goodbye is None and self._receive() is not None:
            await self._flush()
            await _let_others_run()

    async def _read(self) -> list[Event]:
        """Wait until something comes."""
        while (events := self._receive()) is None:
            await self._ready("reader")
        if not events:
            await _let_others_run()
        return events

    def _receive(self) -> list[Event] | None:
        """What is there is the machine's; None if nothing is."""
        ending = Ending.FIN
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            data = b""
        except OSError as error:
            data = b""
            ending = Ending.DROPPED if error.errno in _UNHEARD else Ending.RESET
        if not data:
            return self._end(ending)
        self._says_http_1_0 |= data.startswith(_HTTP_1_0)
        events = self._machine.receive(data)
        if self._machine.closing is not None:
            self._note(Ending.ANNOUNCED)
        return events

    def _end(self, ending: Ending) -> list[Event]:
        self._has_ended = True
        self._note(ending)
        return self._machine.end(
            written=self._written, reason=_WORDS_OF_ENDS[ending], orderly=ending is Ending.FIN
        )

    def _note(self, ending: Ending) -> None:
        if self.goodbye is None:
            self.goodbye = Goodbye(self._clock(), ending)

    async def _flush(self) -> None:
        """Write all there is to say.  What cannot be written is no error: the next read tells more."""
        while not self._has_ended:
            self._unsent = self._unsent or self._machine.take_output()
            if not self._unsent:
                return
            try:
                count = self.socket.send(self._unsent)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                await self._ready("reader" if isinstance(error, ssl.SSLWantReadError) else "writer")
                continue
            except OSError:
                self._unsent = b""
                return
            self._written += count
            self._unsent = self._unsent[count:]

    async def _ready(self, kind: str) -> None:
        await wait_ready(self.socket, kind)


async def _let_others_run() -> None:
    """A peer that never pauses is always there to be read: time limits and Ctrl-C would not be seen."""
    await asyncio.sleep(0)


async def wait_ready(sock: socket.socket, kind: str) -> None:
    """Until the socket can be read (`reader`) or written (`writer`)."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    add: Callable[..., Any] = loop.add_reader if kind == "reader" else loop.add_writer
    remove: Callable[[int], bool] = loop.remove_reader if kind == "reader" else loop.remove_writer

    def on_ready() -> None:
        if not future.done():
            future.set_result(None)

    descriptor = sock.fileno()
    add(descriptor, on_ready)
    try:
        await future
    finally:
        remove(descriptor)
