"""Making the connections of a probe: as a delivery would, or step by step to see what each step takes."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from collections.abc import Sequence

from livepost.clock import Clock
from livepost.config import DeliveryOptions, RequestOptions
from livepost.delivery.request import make_request_head
from livepost.errors import DialError
from livepost.events import HttpVersion
from livepost.net import tls
from livepost.net.dial import Dialed, Dialer
from livepost.net.lookup import look_up
from livepost.net.proxy import choose_proxy, open_tunnel
from livepost.probing.conversation import Conversation
from livepost.probing.samples import Samples
from livepost.target import Target
from livepost.wire.message import RequestHead


class Opener:
    """Opens connections to one target.

    Raises ConfigurationError for options that cannot work; nothing was connected to then.
    """

    def __init__(self, options: DeliveryOptions, samples: Samples, clock: Clock) -> None:
        self.options = options
        self.target = options.target
        self.samples = samples
        self.clock = clock
        self.proxy: Target | None = None
        if options.route.unix_socket is None:
            self.proxy = choose_proxy(options.target, options.route.proxy)
        self._dialer = Dialer(options, self.proxy, clock)
        # TCP alone, as if the URL were http.
        self._plain = dataclasses.replace(options, target=dataclasses.replace(options.target, scheme="http"))
        self._tcp_dialer = Dialer(self._plain, self.proxy, clock)

    @property
    def next_hop(self) -> Target:
        """What TCP connects to."""
        return self.proxy or self.target

    def changed(self, *, http1_1: bool = False, http2_prior_knowledge: bool = False) -> Opener:
        """One that speaks another version of HTTP."""
        route = dataclasses.replace(
            self.options.route, http1_1=http1_1, http2_prior_knowledge=http2_prior_knowledge
        )
        return Opener(dataclasses.replace(self.options, route=route), self.samples, self.clock)

    def head(self, method: str) -> RequestHead:
        """The request that the probe sends.  Raises ConfigurationError."""
        request = RequestOptions(method=method, headers=self.options.request.headers)
        options = dataclasses.replace(self.options, request=request)
        head = make_request_head(options, None if self.target.is_tls else self.proxy)
        # It has no body to have a type.
        fields = tuple(field for field in head.fields if field[0].lower() != b"content-type")
        return dataclasses.replace(head, fields=fields)

    async def open(self) -> Conversation:
        """A connection as a delivery would make it.  Raises DialError."""
        dialed = await self._dialer.dial()
        self.samples.connections += 1
        return self.converse(dialed)

    def converse(self, dialed: Dialed) -> Conversation:
        """Speak on this connection."""
        return Conversation(dialed, self.options.timeouts, self.samples, self.clock)

    async def look_up(self) -> list[str]:
        """The addresses of the next hop, or those given in their place.  Raises OSError."""
        hop = self.next_hop
        names = [hop.host]
        for line in self.options.route.resolve:
            host, _, rest = line.partition(":")
            port, _, addresses = rest.partition(":")
            if (host.lower(), port) == (hop.host, str(hop.port)):
                names = [address.strip("[]") for address in addresses.split(",") if address]
        async with asyncio.timeout(self.options.timeouts.connect_timeout):
            found = [info[4][0] for name in names for info in await look_up(name, hop.port)]
        return list(dict.fromkeys(found))

    async def connect(self) -> tuple[socket.socket, float]:
        """TCP alone, and how long that took if no name had to be looked up.  Raises DialError."""
        return await self._connect(self._tcp_dialer)

    async def connect_to(self, address: str) -> float:
        """How long the TCP handshake with this one of the addresses takes.  Raises DialError."""
        hop = self.next_hop
        route = dataclasses.replace(self.options.route, resolve=(f"{hop.host}:{hop.port}:{address}",))
        dialer = Dialer(dataclasses.replace(self._plain, route=route), self.proxy, self.clock)
        sock, seconds = await self._connect(dialer)
        sock.close()
        return seconds

    async def _connect(self, dialer: Dialer) -> tuple[socket.socket, float]:
        dialed = await dialer.dial()
        self.samples.connections += 1
        return dialed.socket, dialed.seconds

    async def through(self) -> tuple[socket.socket, float]:
        """TCP, and the tunnel if one is needed, so that TLS can follow.  Raises DialError.

        The time is that of TCP.
        """
        sock, seconds = await self.connect()
        if self.proxy is not None and self.target.is_tls:
            try:
                async with asyncio.timeout(self.options.timeouts.connect_timeout):
                    await open_tunnel(sock, self.proxy, self.target)
            except BaseException:
                sock.close()
                raise
        return sock, seconds

    def context(self, versions: Sequence[HttpVersion]) -> ssl.SSLContext:
        """For TLS with the target.  Raises ConfigurationError."""
        return tls.make_context(self.options.tls, versions)

    async def secure(
        self, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> tuple[ssl.SSLSocket, float, float]:
        """A TLS connection, and how long TCP and TLS took.  Raises DialError, ssl.SSLError or OSError."""
        sock, tcp_seconds = await self.through()
        started = self.clock()
        try:
            async with asyncio.timeout(self.options.timeouts.tls_handshake_timeout):
                secure = await tls.handshake(sock, context, self.target.host, session)
        except TimeoutError:
            raise DialError(
                "a TLS handshake took too long", "allow more with --tls-handshake-timeout"
            ) from None
        return secure, tcp_seconds, self.clock() - started
