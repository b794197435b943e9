"""The practice server: a server that counts what reaches it.

For practising, for demonstrations and for tests.  It answers `/api` as a plain REST API would and
knows, from its own side of the wire, how many connections and TLS handshakes that took.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType

from livepost.errors import ConfigurationError
from livepost.rehearsal.api import OnRequest, PracticeApi, Respond
from livepost.rehearsal.connection import Connection
from livepost.rehearsal.endpoint import Endpoint
from livepost.rehearsal.fault_plan import Faults, FaultScript
from livepost.rehearsal.idempotency import FirstAnswers
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.ledger import Counts, Ledger, WriteEntry
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.listener import Listener, listen, listen_on_path
from livepost.rehearsal.misconduct import Misconduct
from livepost.rehearsal.paced_connection import PacedConnection
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.protocol_choice import ProtocolChoice
from livepost.rehearsal.server_clock import ServerClock
from livepost.rehearsal.stats import ServerStats, Tally
from livepost.rehearsal.visit import Visit

TLS_HANDSHAKE_SECONDS = 10.0
TLS_SHUTDOWN_SECONDS = 1.0

_ANY_ADDRESS = ("", "0.0.0.0", "::")
_NO_LIMITS = ServerLimits()


class PracticeServer:
    """Serves from `start` (or `async with`) until `stop`, in the loop that awaited `start`.

    `ssl_context` makes it speak TLS; `unix_socket` is a path to listen on instead of host and port.
    Port 0 takes a free one.  `on_request` is called with every request once it was read to its end,
    before it is answered; `respond` may give it an answer of its own (None for the usual one).
    Both run in the server's loop, must not block, and never see `/stats`.

    `faults` choose what goes wrong (a `FaultPlan`, or a `FaultScript` in tests).  `log` is called
    with an `Entry` for every request before it is answered (the `write` of a `RecordLog`, the
    `append` of a list).  `idempotent`: a repeated Idempotency-Key is answered with its first answer.
    Any of the three makes the server slower, because it keeps account; `counts` are its figures.

    `http2`: it speaks HTTP/2 too, over TLS with those whose ALPN `ssl_context` agrees on "h2" with, in
    clear text with those who begin with it.  Needs the package h2; raises ConfigurationError without.
    `latency` is how long each answer takes.  `handshake_seconds` is how long a TCP handshake seems to
    take, and a TLS handshake as long again: a new connection is left alone for that time.
    With a `clock` answers have a Date, and times that a fault tells are by it.

    `start` raises ConfigurationError if it cannot listen there.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_context: ssl.SSLContext | None = None,
        unix_socket: str | None = None,
        limits: ServerLimits = _NO_LIMITS,
        on_request: OnRequest | None = None,
        respond: Respond | None = None,
        faults: Faults | None = None,
        log: WriteEntry | None = None,
        idempotent: bool = False,
        http2: bool = False,
        latency: Latency | None = None,
        handshake_seconds: float = 0.0,
        clock: ServerClock | None = None,
    ) -> None:
        if http2:
            require_http2()
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"port is {port}", "it must be 0 to 65535")
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._unix_socket = unix_socket
        self._limits = limits
        self._http2 = http2
        self._latency = latency
        self._handshake_seconds = handshake_seconds
        self._clock = clock
        self._tally = Tally()
        keeps_account = faults is not None or log is not None or idempotent
        self._ledger = Ledger(log) if keeps_account else None
        self.api = PracticeApi(self._tally, on_request=on_request, respond=respond, ledger=self._ledger)
        """What answers; a script asks its `usual_answer` if it changes only a part of that."""
        self._numbers = itertools.count(1)
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._misconduct: Misconduct | None = None
        if self._ledger is not None:
            self._misconduct = Misconduct(
                self.api,
                limits,
                faults=FaultScript() if faults is None else faults,
                ledger=self._ledger,
                processor=Processor(self.api, FirstAnswers() if idempotent else None),
                latency=latency,
                http2=http2,
            )

    @property
    def stats(self) -> ServerStats:
        """The counts now.  May be read from any thread, also after `stop`."""
        return self._tally.stats()

    @property
    def counts(self) -> Counts | None:
        """What was processed and how it failed, now; None if the server keeps no account of that.

        May be read from any thread, also after `stop`.
        """
        return None if self._ledger is None else self._ledger.counts

    @property
    def port(self) -> int:
        """The port listened on; 0 for a unix socket, and before `start` if any was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where to reach it, without a path."""
        scheme = "http" if self._ssl_context is None else "https"
        if self._unix_socket is not None:
            return f"{scheme}://localhost"
        host = "localhost" if self._host in _ANY_ADDRESS else self._host
        return f"{scheme}://[{host}]:{self._port}" if ":" in host else f"{scheme}://{host}:{self._port}"

    async def start(self) -> None:
        if self._listener is not None:
            raise RuntimeError("the practice server is running already")
        if self._unix_socket is None:
            self._listener = await listen(self._host, self._port)
        else:
            self._listener = listen_on_path(self._unix_socket)
        self._port = self._listener.port
        self._listener.start(self._accept)
        if self._misconduct is not None:
            self._misconduct.start(self._listener, self._accept, asyncio.get_running_loop().time)

    async def stop(self) -> None:
        """Close the listener and every connection, and return when all are closed."""
        if self._listener is None:
            return
        if self._misconduct is not None:
            self._misconduct.stop()
        self._listener.close()
        self._listener = None
        await asyncio.sleep(0)  # a task cancelled before its first step would never close its socket
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def __aenter__(self) -> PracticeServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @contextlib.contextmanager
    def run_in_thread(self) -> Iterator[PracticeServer]:
        """Serve from a thread with a loop of its own while the `with` block runs."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="practice-server")
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.start(), loop).result()
            try:
                yield self
            finally:
                asyncio.run_coroutine_threadsafe(self.stop(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _accept(self, sock: socket.socket) -> None:
        visit = Visit(next(self._numbers), self._tally, self._clock)
        if self._misconduct is None:
            self._spawn(self._carry(self._endpoint(visit), sock, self._ssl_context))
        else:
            self._spawn(self._carry_faulty(self._misconduct, self._misconduct.connect(visit), sock))

    def _endpoint(self, visit: Visit) -> Endpoint:
        if not self._http2:
            return self._http1_endpoint(visit)
        return ProtocolChoice(
            visit,
            self._limits,
            make_http1=lambda: self._http1_endpoint(visit),
            make_http2=lambda: self._http2_endpoint(visit),
        )

    def _http1_endpoint(self, visit: Visit) -> Connection:
        if self._latency is None:
            return Connection(visit, self.api.answer, self._limits)
        return PacedConnection(visit, self.api.answer, self._limits, self._latency)

    def _http2_endpoint(self, visit: Visit) -> Endpoint:
        from livepost.rehearsal.http2_connection import Http2Connection  # only with the package h2

        return Http2Connection(visit, self.api.answer, self._limits, self._latency)

    def _spawn(self, carrying: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(carrying)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_faulty(self, misconduct: Misconduct, endpoint: Endpoint, sock: socket.socket) -> None:
        try:
            await self._carry(endpoint, sock, None if endpoint.ends_at_once else self._ssl_context)
        finally:
            misconduct.forget(endpoint)

    async def _carry(self, endpoint: Endpoint, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """See one connection from its accept to its end."""
        try:
            if self._handshake_seconds:
                await self._wait_for_handshake(sock, tls)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: endpoint,
                sock,
                ssl=tls,
                ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if tls else None,
            )
        except OSError:
            endpoint.give_up()  # no TLS handshake came about, which the counts show
            return
        except asyncio.CancelledError:
            endpoint.give_up()
            raise
        try:
            await endpoint.closed.wait()
        finally:
            await endpoint.abort()

    async def _wait_for_handshake(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            await asyncio.sleep(self._handshake_seconds * (1 if tls is None else 2))
        except asyncio.CancelledError:
            sock.close()
            raise


def require_http2() -> None:
    """Raises ConfigurationError if the practice server cannot speak HTTP/2 here."""
    if importlib.util.find_spec("h2") is None:
        raise ConfigurationError(
            "the practice server speaks HTTP/2 with the package h2, which is not installed",
            "pip install 'livepost[rehearsal]'",
        )


async def serve(
    server: PracticeServer, *, on_ready: Callable[[PracticeServer], None], stop: asyncio.Event
) -> ServerStats:
    """Serve until `stop` is set, and return what was counted.

    `on_ready` is called once, when connections are accepted.  Prints nothing.  Raises
    ConfigurationError if it cannot listen there.
    """
    async with server:
        on_ready(server)
        await stop.wait()
    return server.stats
