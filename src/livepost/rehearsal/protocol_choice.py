"""Finds out whether a client speaks HTTP/2 or HTTP/1.1, and is in its way no more.

Over TLS, ALPN has said so.  In clear text the first bytes do: HTTP/2 begins with `PRI * HTTP/2.0`
(RFC 9113 section 3.4), and no request of HTTP/1.1 has the method PRI.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livepost.rehearsal.endpoint import Endpoint, State
from livepost.rehearsal.limits import ServerLimits
from livepost.rehearsal.visit import Visit
from livepost.wire.frames import PREFACE

_TELLING_BYTES = 3


class ProtocolChoice(Endpoint):
    """Hands its transport over to one of two endpoints, which it makes of the same visit."""

    def __init__(
        self,
        visit: Visit,
        limits: ServerLimits,
        *,
        make_http1: Callable[[], Endpoint],
        make_http2: Callable[[], Endpoint],
    ) -> None:
        super().__init__(visit, limits)
        self._make_http1 = make_http1
        self._make_http2 = make_http2
        self._begun = b""
        self._chosen: Endpoint | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        if self._state is State.OPEN and ssl_object is not None:
            self._choose(is_http2=ssl_object.selected_alpn_protocol() == "h2")

    def data_received(self, data: bytes) -> None:
        if self._state is not State.OPEN:
            self._disregard()
            return
        self._begun += data
        if len(self._begun) >= _TELLING_BYTES or not PREFACE.startswith(self._begun):
            self._choose(is_http2=self._begun[:_TELLING_BYTES] == PREFACE[:_TELLING_BYTES])

    async def abort(self) -> None:
        await (super().abort() if self._chosen is None else self._chosen.abort())

    def give_up(self) -> None:
        if self._chosen is None:
            super().give_up()
        else:
            self._chosen.give_up()

    def crash(self) -> None:
        if self._chosen is None:
            super().crash()
        else:
            self._chosen.crash()

    def _choose(self, *, is_http2: bool) -> None:
        self._cancel_timers()
        self._state = State.HANDED_OVER
        chosen = self._chosen = self._make_http2() if is_http2 else self._make_http1()
        self._transport.set_protocol(chosen)
        chosen.connection_made(self._transport)
        if self._begun:
            chosen.data_received(self._begun)
