"""TLS sessions for the next handshakes: a resumed one needs no certificate, in TLS 1.2 a round trip less.

A session of TLS 1.3 is of use only once the server's ticket has come, which is read with the first bytes of
the first answer; one of TLS 1.2 right after the handshake.  (Python's documentation says that
`SSLSocket.session` does not work with TLS 1.3.  It does, from then on: measured with OpenSSL 3.0.)

Each is used once, so that nobody on the way can tell by a ticket that two connections are of one client
(RFC 8446 appendix C.4).  Each connection brings a new one, so there is one for each that ends.

No early data is ever sent with them: who records it can send it to the server again, and the server cannot
tell (RFC 8446 section 8).  That would be records delivered twice.  RFC 8470 section 4 allows it for safe
methods at most, and Python's ssl has no way to send it.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable

MOST_SESSIONS = 64


class TlsSessions:
    """Sessions with one server, of one context, which is all they can be used with.

    `wall_clock` gives seconds since 1970, as in the sessions.
    """

    __slots__ = ("_context", "_sessions", "_wall_clock")

    def __init__(
        self, context: ssl.SSLContext, wall_clock: Callable[[], float], most: int = MOST_SESSIONS
    ) -> None:
        self._context = context
        self._wall_clock = wall_clock
        self._sessions: deque[ssl.SSLSession] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._sessions)

    def take(self) -> ssl.SSLSession | None:
        """The newest that is still good, for one handshake; None if there is none."""
        now = self._wall_clock()
        while self._sessions:
            session = self._sessions.pop()
            if now < _expires_at(session):
                return session
        return None

    def offer(self, sock: ssl.SSLSocket) -> bool:
        """Keep the connection's session; False if it has none of use, or not yet.

        To be called after the first answer was read on it, once.
        """
        session = sock.session
        if session is None or sock.context is not self._context or not _is_of_use(session, sock.version()):
            return False
        if session not in self._sessions:
            self._sessions.append(session)
        return True

    def clear(self) -> None:
        """Forget all: a handshake with one of them has failed."""
        self._sessions.clear()


def _is_of_use(session: ssl.SSLSession, version: str | None) -> bool:
    return session.has_ticket or (version == "TLSv1.2" and bool(session.id))


def _expires_at(session: ssl.SSLSession) -> float:
    lifetime = session.timeout
    if session.ticket_lifetime_hint:
        lifetime = min(lifetime, session.ticket_lifetime_hint)
    return session.time + lifetime
