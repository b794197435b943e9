"""The practice server: an HTTP/1.1 server that counts what reaches it.

For practising, for demonstrations and for tests.  It answers `/api` as a plain REST API would and
knows, from its own side of the wire, how many connections and TLS handshakes that took.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType

from livepost.errors import ConfigurationError
from livepost.rehearsal.api import OnRequest, PracticeApi, Respond
from livepost.rehearsal.connection import Connection, ServerLimits
from livepost.rehearsal.fault_connection import FaultyConnection
from livepost.rehearsal.fault_plan import Faults, FaultScript
from livepost.rehearsal.idempotency import FirstAnswers
from livepost.rehearsal.ledger import Counts, Ledger, WriteEntry
from livepost.rehearsal.listener import Listener, listen, listen_on_path
from livepost.rehearsal.misconduct import Misconduct
from livepost.rehearsal.processing import Processor
from livepost.rehearsal.stats import ServerStats, Tally

TLS_HANDSHAKE_SECONDS = 10.0
TLS_SHUTDOWN_SECONDS = 1.0

_ANY_ADDRESS = ("", "0.0.0.0", "::")


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

    `start` raises ConfigurationError if it cannot listen there.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_context: ssl.SSLContext | None = None,
        unix_socket: str | None = None,
        limits: ServerLimits = ServerLimits(),
        on_request: OnRequest | None = None,
        respond: Respond | None = None,
        faults: Faults | None = None,
        log: WriteEntry | None = None,
        idempotent: bool = False,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"port is {port}", "it must be 0 to 65535")
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._unix_socket = unix_socket
        self._limits = limits
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
                self._tally,
                limits,
                faults=FaultScript() if faults is None else faults,
                ledger=self._ledger,
                processor=Processor(self.api, FirstAnswers() if idempotent else None),
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
        number = next(self._numbers)
        if self._misconduct is None:
            connection = Connection(number, self.api.answer, self._tally, self._limits)
            self._spawn(self._carry(connection, sock, self._ssl_context))
        else:
            self._spawn(self._carry_faulty(self._misconduct, self._misconduct.connect(number), sock))

    def _spawn(self, carrying: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(carrying)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_faulty(
        self, misconduct: Misconduct, connection: FaultyConnection, sock: socket.socket
    ) -> None:
        try:
            await self._carry(connection, sock, None if connection.ends_at_once else self._ssl_context)
        finally:
            misconduct.forget(connection)

    async def _carry(self, connection: Connection, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """See one connection from its accept to its end."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=tls,
                ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if tls else None,
            )
        except OSError:
            connection.give_up()  # no TLS handshake came about, which the counts show
            return
        except asyncio.CancelledError:
            connection.give_up()
            raise
        try:
            await connection.closed.wait()
        finally:
            await connection.abort()


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
