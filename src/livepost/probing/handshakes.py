"""How long handshakes take, with each address and each version of TLS, and whether sessions are resumed."""

from __future__ import annotations

import ssl
from datetime import datetime

from livepost.errors import DialError, LivepostError
from livepost.events import HttpVersion
from livepost.net.dial import Dialed
from livepost.probing.certificate import read_certificate
from livepost.probing.findings import AddressFound, LookUp, Tls, TlsHandshake
from livepost.probing.opening import Opener
from livepost.wire.message import RequestHead

_MOST_ADDRESSES = 8
_TCP_HANDSHAKES = 3

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


async def look_up_addresses(opener: Opener) -> LookUp | None:
    """The addresses of the host, none of them tried yet; None where none is needed, or it fails.

    Why it fails is told better by the dial that follows.
    """
    if opener.options.route.unix_socket is not None:
        return None
    started = opener.clock()
    try:
        addresses = await opener.look_up()
    except OSError:
        return None
    found = tuple(AddressFound(address, None, None) for address in addresses)
    return LookUp(opener.next_hop.host, opener.clock() - started, found)


async def try_addresses(opener: Opener, look_up: LookUp) -> LookUp:
    """The same, with how long the TCP handshake with each of the first few took."""
    tried = []
    for found in look_up.addresses[:_MOST_ADDRESSES]:
        # An address of one link only: its name cannot stand in --resolve.
        if "%" in found.address:
            tried.append(found)
            continue
        try:
            seconds = await opener.connect_to(found.address)
        except DialError as error:
            tried.append(AddressFound(found.address, None, str(error)))
        else:
            opener.samples.connected(seconds)
            tried.append(AddressFound(found.address, seconds, None))
    return LookUp(look_up.name, look_up.seconds, (*tried, *look_up.addresses[_MOST_ADDRESSES:]))


async def time_tcp(opener: Opener) -> None:
    """A few TCP handshakes, for the samples.  Raises DialError."""
    for number in range(_TCP_HANDSHAKES + 1):
        sock, seconds = await opener.connect()
        sock.close()
        # The first looks the name up.
        if number:
            opener.samples.connected(seconds)


async def try_tls(opener: Opener, http_version: HttpVersion, head: RequestHead, now: datetime) -> Tls:
    """The certificate, and each version of TLS.  Raises LivepostError, OSError."""

    async def reconnect(context: ssl.SSLContext) -> ssl.SSLSocket:
        secure, _, _ = await opener.secure(context)
        return secure

    with await opener.open() as conversation:
        used = conversation.socket
        assert isinstance(used, ssl.SSLSocket)
        version, alpn = used.version() or "", used.selected_alpn_protocol()
        certificate = await read_certificate(used, reconnect, now)
    handshakes = [
        await _try_version(opener, name, http_version, head, is_used=name == version) for name in _VERSIONS
    ]
    return Tls(version, alpn, certificate, tuple(handshakes))


async def _try_version(
    opener: Opener, name: str, http_version: HttpVersion, head: RequestHead, *, is_used: bool
) -> TlsHandshake:
    """A full handshake and one that takes its session up, both with nothing but this version offered."""
    context = opener.context((http_version,))
    context.minimum_version = context.maximum_version = _VERSIONS[name]
    try:
        secure, tcp_seconds, full_seconds = await opener.secure(context)
    except OSError:
        # Servers refuse a version in many ways; that this one is spoken is known.
        return TlsHandshake(name, is_used, None, None, None)
    opener.samples.connected(tcp_seconds)
    # TLS 1.3 brings the ticket behind the handshake, so it is there with the first answer.
    session = await _session_after_answer(opener, secure, http_version, head)
    if session is None:
        return TlsHandshake(name, True, full_seconds, None, None)
    try:
        resumed, tcp_seconds, seconds = await opener.secure(context, session)
    except OSError:
        return TlsHandshake(name, True, full_seconds, False, None)
    opener.samples.connected(tcp_seconds)
    with resumed:
        is_resumed = bool(resumed.session_reused)
    return TlsHandshake(name, True, full_seconds, is_resumed, seconds if is_resumed else None)


async def _session_after_answer(
    opener: Opener, secure: ssl.SSLSocket, http_version: HttpVersion, head: RequestHead
) -> ssl.SSLSession | None:
    dialed = Dialed(secure, "", 0.0, secure.version(), False, http_version)
    with opener.converse(dialed) as conversation:
        try:
            await conversation.ask(head)
        except LivepostError:
            return None
        return secure.session
