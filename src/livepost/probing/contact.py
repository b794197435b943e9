"""The first words with a server: which safe request it takes, and whether it keeps the connection."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from livepost.errors import LivepostError
from livepost.events import HttpVersion
from livepost.net.keepalive_hint import read_keepalive_hint
from livepost.probing.conversation import Conversation, NoAnswer
from livepost.probing.findings import Contact, KeepAliveHint
from livepost.probing.opening import Opener
from livepost.text import as_text
from livepost.wire.message import RequestHead, Response

_METHOD_REFUSED = (405, 501)
_SHOWN_BYTES = 200


@dataclass(frozen=True, slots=True)
class Met:
    """How the rest of the probe asks."""

    address: str
    """Where the connection went."""
    contact: Contact
    head: RequestHead
    http_version: HttpVersion
    hint: KeepAliveHint | None
    """None over HTTP/2, which has none."""
    settings: dict[str, int] | None

    @property
    def rank(self) -> tuple[bool, bool]:
        """What makes a request better suited than another."""
        return self.contact.status not in _METHOD_REFUSED, self.contact.keeps_alive


async def meet(opener: Opener, methods: tuple[str, ...]) -> Met:
    """Try these methods in turn until one is taken, and the connection kept; else the best of them.

    Raises DialError; NoAnswer if none is answered at all.
    """
    best: Met | None = None
    silence: NoAnswer | None = None
    for method in methods:
        head = opener.head(method)
        try:
            with await opener.open() as conversation:
                met = await _ask_twice(conversation, method, head)
        except NoAnswer as error:
            silence = silence or error
            if error.was_silence:
                break
            continue
        if best is None or met.rank > best.rank:
            best = met
        if all(best.rank):
            break
    if best is None:
        assert silence is not None
        raise silence
    return best


async def _ask_twice(conversation: Conversation, method: str, head: RequestHead) -> Met:
    response = await conversation.ask(head)
    settings = conversation.settings
    keeps_alive = False
    if conversation.closing is None:
        try:
            await conversation.ask(head)
            keeps_alive = True
        except NoAnswer:
            # It closes without having announced it.
            pass
    server = response.field(b"server")
    contact = Contact(
        method=method,
        status=response.status,
        http_version=conversation.spoken,
        keeps_alive=keeps_alive,
        server=None if server is None else as_text(server, _SHOWN_BYTES),
        location=_location(response) if 300 <= response.status < 400 else None,
    )
    hint = None if conversation.http_version is HttpVersion.HTTP_2 else read_hint(response)
    return Met(conversation.address, contact, head, conversation.http_version, hint, settings)


def read_hint(response: Response) -> KeepAliveHint:
    """The `Keep-Alive` field, as a delivery understands it."""
    hint = read_keepalive_hint(response.fields)
    return KeepAliveHint(hint.timeout_seconds, hint.requests_left)


def _location(response: Response) -> str | None:
    """Without what may be a secret."""
    value = response.field(b"location")
    if value is None:
        return None
    try:
        parts = urlsplit(as_text(value, _SHOWN_BYTES))
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


async def ask_for_hint(opener: Opener, head: RequestHead) -> KeepAliveHint | None:
    """What an HTTP/1.1 connection of a server says that otherwise speaks HTTP/2; None if it has none."""
    try:
        with await opener.changed(http1_1=True).open() as conversation:
            return read_hint(await conversation.ask(head))
    except LivepostError:
        return None
