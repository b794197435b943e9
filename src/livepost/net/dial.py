"""Making connections: names to addresses, TCP, proxy, TLS, in that order.

Addresses race each other (Happy Eyeballs, RFC 8305) only on the first dial: a losing attempt is a
wasted handshake.  The winner is dialled directly from then on, until it fails, and as long as the name leads
to it: the name is looked up at every dial.

TLS sessions of connections that have answered are resumed (`tls_sessions`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

import aiohappyeyeballs

from livepost.clock import Clock
from livepost.config import DeliveryOptions, RouteOptions
from livepost.errors import ConfigurationError, DialError, PermanentDialError
from livepost.events import HttpVersion
from livepost.net import tls
from livepost.net.lookup import AddressInfo, look_up
from livepost.net.proxy import open_tunnel
from livepost.net.tls_sessions import TlsSessions
from livepost.target import Target, ascii_name

ATTEMPT_DELAY_SECONDS = 0.25

# Notice within about two minutes that a peer vanished without a word, and keep NAT entries alive.
_KEEPALIVE_IDLE_SECONDS = 45
_KEEPALIVE_INTERVAL_SECONDS = 15
_KEEPALIVE_PROBES = 4
_USER_TIMEOUT_MILLISECONDS = 60_000

# Then a unix socket whose queue is full is tried again: nothing tells when there is room.
_QUEUE_FULL_SECONDS = 0.01

_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Dialed:
    """A connection that was made; whoever receives it closes the socket."""

    socket: socket.socket
    address: str
    seconds: float
    tls_version: str | None
    tls_resumed: bool
    http_version: HttpVersion = HttpVersion.HTTP_1_1
    known_addresses: frozenset[str] = field(default=frozenset(), compare=False)
    """All to which the name leads now, as `address` is; none if it was not looked up."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection that still has to become the target's own; see `Dialed`."""

    socket: socket.socket
    known_addresses: frozenset[str] = frozenset()


class Dialer:
    """Makes connections to one target.

    `await dial()` returns a `Dialed` or raises DialError (PermanentDialError where trying again
    will not help); nothing stays open on failure.
    """

    def __init__(self, options: DeliveryOptions, proxy: Target | None, clock: Clock) -> None:
        self._target = options.target
        self._proxy = proxy
        self._unix_socket = options.route.unix_socket
        self._timeouts = options.timeouts
        self._tls_options = options.tls
        self._clock = clock
        is_forwarded = proxy is not None and not options.target.is_tls
        self._versions = _versions(options.route, is_forwarded=is_forwarded)
        self._context: ssl.SSLContext | None = None
        self._sessions: TlsSessions | None = None
        self._make_context()
        self._overrides = _parse_overrides(options.route.resolve)
        self._remembered: AddressInfo | None = None
        self._user_timeout = _user_timeout_milliseconds(options.timeouts.max_time)
        self._was_found = False
        """The name has led somewhere in this run."""
        next_hop = proxy or options.target
        self._host, self._port = next_hop.host, next_hop.port
        if self._unix_socket is not None:
            self._where = f"unix socket {self._unix_socket}"
        else:
            self._where = f"the proxy {proxy.host_and_port}" if proxy else next_hop.host_and_port

    def speak_http_1_1(self) -> None:
        """Offer nothing else from now on, whatever was asked for: the server wants it so."""
        if self._versions != _HTTP_1_1_ONLY:
            self._versions = _HTTP_1_1_ONLY
            self._make_context()

    def keep_session(self, sock: ssl.SSLSocket) -> None:
        """The first answer was read on this socket: another dial may resume its TLS session."""
        if self._sessions is not None:
            self._sessions.offer(sock)

    def explain_refusal(self, error: ssl.SSLError) -> DialError:
        """What it means that the server did not take our certificate, as it said after the dial."""
        return tls.explain_refusal(error, self._target.host, self._tls_options)

    def _make_context(self) -> None:
        if self._target.is_tls:
            self._context = tls.make_context(self._tls_options, self._versions.offered)
            # Sessions are good only with the context that they were made with.
            self._sessions = TlsSessions(self._context, time.time)

    async def dial(self) -> Dialed:
        started = self._clock()
        opened = await self._connect()
        address = _readable_address(opened.socket)
        # Before anything is awaited: another dial may find out that it has to be HTTP/1.1.
        versions = self._versions
        if self._context is None or self._sessions is None:
            return Dialed(
                opened.socket,
                address,
                self._clock() - started,
                None,
                False,
                versions.unasked,
                opened.known_addresses,
            )
        secure = await self._secure(opened.socket, self._context, self._sessions)
        try:
            http_version = versions.chosen_by(secure.selected_alpn_protocol())
        except BaseException:
            secure.close()
            raise
        return Dialed(
            secure,
            address,
            self._clock() - started,
            secure.version(),
            bool(secure.session_reused),
            http_version,
            opened.known_addresses,
        )

    async def _connect_only(self) -> socket.socket:
        return (await self._connect()).socket

    async def _connect(self) -> _Opened:
        """A TCP or unix connection through which the target's own bytes can flow."""
        limit = asyncio.timeout(self._timeouts.connect_timeout)
        try:
            async with limit:
                opened = await self._open()
                try:
                    if self._proxy is not None and self._target.is_tls:
                        await open_tunnel(opened.socket, self._proxy, self._target)
                except BaseException:
                    opened.socket.close()
                    raise
                return opened
        except OSError as error:
            # The kernel has a TimeoutError of its own.
            if limit.expired():
                raise DialError(
                    f"{self._where} did not take a connection within {self._timeouts.connect_timeout:g} s",
                    "check the address and firewalls, or allow more with --connect-timeout",
                ) from None
            raise self._explain(error) from None

    async def _open(self) -> _Opened:
        loop = asyncio.get_running_loop()
        if self._unix_socket is not None:
            return _Opened(await _connect_to_unix(self._unix_socket))
        remembered = self._remembered
        try:
            addresses = await self._look_up()
        except socket.gaierror as error:
            if remembered is None or error.errno != socket.EAI_AGAIN:
                raise
            # The name server is away, and the server may well be there.
            addresses = [remembered]
        known = frozenset(_readable(where) for *_, where in addresses)
        if remembered is not None and _readable(remembered[4]) in known:
            try:
                return _Opened(_configured(await _connect_to(loop, remembered), self._user_timeout), known)
            except OSError:
                self._remembered = None
            except asyncio.CancelledError:
                # Silence until the time is up is a failure, too.
                self._remembered = None
                raise
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=ATTEMPT_DELAY_SECONDS, interleave=1
        )
        _configured(sock, self._user_timeout)
        with contextlib.suppress(OSError):
            # Who is gone already is not remembered; the first use of the socket will say so.
            self._remembered = (sock.family, sock.type, sock.proto, "", sock.getpeername())
        return _Opened(sock, known)

    async def _look_up(self) -> list[Any]:
        names = self._overrides.get((self._host, self._port), (self._host,))
        found: list[Any] = []
        for name in names:
            found += await look_up(name, self._port)
        self._was_found = True
        return found

    async def _secure(
        self, sock: socket.socket, context: ssl.SSLContext, sessions: TlsSessions
    ) -> ssl.SSLSocket:
        session = sessions.take()
        limit = asyncio.timeout(self._timeouts.tls_handshake_timeout)
        host = self._target.host
        try:
            async with limit:
                return await tls.handshake(sock, context, host, session)
        except OSError as error:
            if session is not None:
                # It may be to blame, and so may the others.
                sessions.clear()
                if not limit.expired():
                    return await self._secure(await self._connect_only(), context, sessions)
            if limit.expired():
                raise DialError(
                    f"the TLS handshake with {host} took longer than "
                    f"{self._timeouts.tls_handshake_timeout:g} s",
                    "is something other than a TLS server listening there? "
                    "allow more with --tls-handshake-timeout",
                ) from None
            raise await tls.explain(error, host, self._tls_options, self._connect_only) from None

    def _explain(self, error: OSError) -> DialError:
        if isinstance(error, socket.gaierror):
            # A name may be gone for as long as a server takes to start again.
            if error.errno == socket.EAI_AGAIN or self._was_found:
                return DialError(
                    f"the name {self._host} cannot be looked up at the moment",
                    "check the network and its DNS",
                )
            return PermanentDialError(f"there is no host named {self._host}", "check the spelling of the URL")
        # Several addresses that failed in several ways come as one error without a number.
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return DialError(
                "no more connections: too many open files", "lower --connections or raise `ulimit -n`"
            )
        if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in reason:
            return DialError(
                f"{self._where} refused the connection", "is the server running, and is that its port?"
            )
        if self._unix_socket is not None:
            # A server that starts again makes its socket anew.
            kind = DialError if error.errno == errno.ENOENT else PermanentDialError
            return kind(f"{self._where} cannot be opened: {reason}", "check --unix-socket")
        return DialError(f"{self._where} cannot be reached: {reason}", "check the address and the network")


def _user_timeout_milliseconds(max_time: float | None) -> int:
    """For how long a peer need not acknowledge, or may take, what is sent; 0: as the kernel has it.

    It also ends a connection whose peer is there and only reads nothing (its window is 0), which is no
    reason while a request may take longer.
    """
    is_long = max_time is None or max_time * 1000 > _USER_TIMEOUT_MILLISECONDS
    return 0 if is_long else _USER_TIMEOUT_MILLISECONDS


@dataclass(frozen=True, slots=True)
class _Versions:
    offered: tuple[HttpVersion, ...]
    """By ALPN, the best first."""
    unasked: HttpVersion
    """What is spoken without TLS, or where the server chose nothing."""

    def chosen_by(self, name: str | None) -> HttpVersion:
        """What the server chose, by its name in ALPN.  Raises DialError if that was not offered."""
        if name is None:
            return self.unasked
        for version in self.offered:
            if version.value == name:
                return version
        raise DialError(
            f"the server chose to speak {name!r}, which it was not offered",
            "a server or proxy on the way is broken: look at it, or try --http1.1",
        )


_HTTP_1_1_ONLY = _Versions((HttpVersion.HTTP_1_1,), HttpVersion.HTTP_1_1)
_EITHER = (HttpVersion.HTTP_2, HttpVersion.HTTP_1_1)


def _versions(route: RouteOptions, *, is_forwarded: bool) -> _Versions:
    """What may be spoken.  A proxy that is given whole URLs speaks HTTP/1.1, whatever the server does."""
    if route.http1_1 or is_forwarded:
        return _HTTP_1_1_ONLY
    return _Versions(_EITHER, HttpVersion.HTTP_2 if route.http2_prior_knowledge else HttpVersion.HTTP_1_1)


async def _connect_to(loop: asyncio.AbstractEventLoop, address: AddressInfo) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect_to_unix(path: str) -> socket.socket:
    """The kernel connects at once or not at all: while the server's queue is full, nothing is under way."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
                return sock
            except BlockingIOError:
                await asyncio.sleep(_QUEUE_FULL_SECONDS)
    except BaseException:
        sock.close()
        raise


def _configured(sock: socket.socket, user_timeout: int) -> socket.socket:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_SECONDS),
            ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_SECONDS),
            ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", user_timeout),
        ):
            # Linux has them all, macOS some.
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        # macOS refuses options on a connection that the peer has reset.
        sock.close()
        raise
    return sock


def _readable_address(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        # The peer is gone already; the first use of the socket will say so.
        return "unknown"
    return _readable(name) if isinstance(name, tuple) else str(name)


def _readable(name: tuple[Any, ...]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_overrides(lines: tuple[str, ...]) -> dict[tuple[str, int], tuple[str, ...]]:
    """`HOST:PORT:ADDRESS[,ADDRESS]` as curl's --resolve takes it, addresses of IPv6 perhaps in brackets."""
    overrides = {}
    for line in lines:
        host, _, rest = line.partition(":")
        port, _, addresses = rest.partition(":")
        names = tuple(address.strip("[]") for address in addresses.split(",") if address)
        try:
            key = ascii_name(host), int(port) if _PORT.fullmatch(port) else 0
        except ValueError:
            key = "", 0
        if not (0 < key[1] <= _LAST_PORT and names and all(map(_is_address, names))):
            raise ConfigurationError(
                f"--resolve {line} cannot be understood",
                "write it as HOST:PORT:ADDRESS, as in example.com:443:127.0.0.1",
            )
        overrides[key] = names
    return overrides


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
            return True
        except OSError:
            continue
    return False
