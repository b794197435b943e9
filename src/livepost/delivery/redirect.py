"""Where a redirect leads (RFC 9110 section 15.4), for -L.

307 and 308 keep method and body.  303 asks for something else with GET: the record has been processed
(section 15.4.4).  301 and 302 keep the method, too, save that POST becomes GET as in every client since
the beginning.  A POST with a body is not followed there: a page that answers a GET says nothing of the
record, and it would pass for delivered.

Credentials go to the same origin only (scheme, host and port), and never from https to http.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from collections.abc import Callable
from urllib.parse import urljoin

from livepost.delivery.classify import FOLLOWED_STATUSES
from livepost.errors import ConfigurationError
from livepost.target import Target, parse_target
from livepost.wire.message import Fields, RequestHead, Response
from livepost.wire.request_head import check_request_line

MOST_HOPS = 10
"""As many as Go follows; curl follows 50.  Each costs every record a round trip."""

_KEEPS_ALL = frozenset((307, 308))
_SEE_OTHER = 303
_REMEMBERED = 64
_CREDENTIAL = re.compile(
    rb"auth|cookie|token|secret|(?:api|access)-?key|(?<![a-z])key(?![a-z])|password|session|signature|credential",
    re.IGNORECASE,
)
_OF_THE_BODY = (b"content-type", b"content-encoding", b"content-language", b"content-location", b"digest")


ProxyOf = Callable[[Target], Target | None]


def no_proxy(target: Target) -> Target | None:
    """Every target is spoken to directly, or through a tunnel."""
    return None


class Refusal(enum.Enum):
    """Why a redirect is not followed; the record is rejected."""

    NO_REDIRECT = "not a redirect that can be followed"
    NO_LOCATION = "the redirect does not say where to"
    MALFORMED = "the redirect's address cannot be understood"
    DOWNGRADE = "the redirect leads from https to http"
    LOOP = "the redirects go round in a circle"
    TOO_MANY = "too many redirects in a row"
    LOSES_BODY = "the redirect would turn the POST into a GET without the record"


@dataclasses.dataclass(frozen=True, slots=True)
class Redirection:
    """The request to send instead."""

    target: Target
    head: RequestHead
    keeps_body: bool
    is_same_origin: bool
    """Whether connections to where the answer came from serve for it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hops:
    """The way a record has come by redirects: method and full address of each request so far."""

    visited: tuple[tuple[bytes, str], ...]

    @classmethod
    def start(cls, target: Target, head: RequestHead) -> Hops:
        """Before the first redirect."""
        return cls(((head.method, _address(target)),))


def redirect(
    response: Response,
    target: Target,
    head: RequestHead,
    hops: Hops,
    *,
    has_body: bool,
    proxy_of: ProxyOf = no_proxy,
) -> tuple[Redirection, Hops] | Refusal:
    """What to send after this answer to a request of `head` to `target`, or why nothing.

    `proxy_of(target)` is the proxy that is asked for it without a tunnel, if there is one.

    Made once for each combination, as heads are compared by identity: all records that are sent on the
    same way share theirs.
    """
    if response.status not in FOLLOWED_STATUSES:
        return Refusal.NO_REDIRECT
    location = response.field(b"location")
    if not location:
        return Refusal.NO_LOCATION
    if len(hops.visited) > MOST_HOPS:
        return Refusal.TOO_MANY
    redirection = _redirection(response.status, location, target, head, has_body, proxy_of)
    if isinstance(redirection, Refusal):
        return redirection
    step = (redirection.head.method, _address(redirection.target))
    if step in hops.visited:
        return Refusal.LOOP
    return redirection, Hops((*hops.visited, step))


@functools.lru_cache(_REMEMBERED)
def _redirection(
    status: int, location: bytes, target: Target, head: RequestHead, has_body: bool, proxy_of: ProxyOf
) -> Redirection | Refusal:
    followed = _resolve(location, target)
    if followed is None:
        return Refusal.MALFORMED
    if target.is_tls and not followed.is_tls:
        return Refusal.DOWNGRADE
    method, keeps_body = _method(status, head.method)
    if has_body and not keeps_body and status != _SEE_OTHER:
        return Refusal.LOSES_BODY
    is_same_origin = target.origin == followed.origin
    fields = head.fields
    if not is_same_origin:
        fields = tuple(field for field in fields if not _CREDENTIAL.search(field[0]))
    if not keeps_body:
        fields = _without(fields, _OF_THE_BODY)
    proxy = proxy_of(followed)
    if proxy is not None and proxy.authorization is not None and not is_same_origin:
        # The proxy's own, which it takes out.
        fields = (*fields, (b"Proxy-Authorization", proxy.authorization))
    path = followed.path if proxy is None else _address(followed)
    # Same origin keeps a Host of the user's.
    authority = head.authority if is_same_origin else followed.authority.encode("ascii")
    new = dataclasses.replace(
        head,
        method=method,
        target=path.encode("ascii"),
        authority=authority,
        scheme=followed.scheme.encode("ascii"),
        fields=fields,
        expect_continue=head.expect_continue and keeps_body,
    )
    try:
        check_request_line(new.method, new.target, new.authority)
    except ValueError:
        return Refusal.MALFORMED
    return Redirection(followed, new, keeps_body, is_same_origin)


def _resolve(location: bytes, target: Target) -> Target | None:
    """The address, against that of the request; what it says of user and password counts for nothing."""
    try:
        followed = parse_target(urljoin(_address(target), location.decode("utf-8", "surrogateescape")))
    except (ConfigurationError, ValueError):
        return None
    authorization = target.authorization if target.origin == followed.origin else None
    return dataclasses.replace(followed, authorization=authorization)


def _method(status: int, method: bytes) -> tuple[bytes, bool]:
    """The method to go on with, and whether the body goes along."""
    if status in _KEEPS_ALL:
        return method, True
    if status == _SEE_OTHER:
        return (method if method in (b"GET", b"HEAD") else b"GET"), False
    return (b"GET", False) if method == b"POST" else (method, True)


def _address(target: Target) -> str:
    return f"{target.scheme}://{target.authority}{target.path}"


def _without(fields: Fields, names: tuple[bytes, ...]) -> Fields:
    return tuple(field for field in fields if field[0].lower() not in names)
