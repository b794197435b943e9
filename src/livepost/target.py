"""Where records go: a URL, taken apart strictly.

RFC 3986, RFC 9110 section 4.2.  Whatever could smuggle a second line into a request (CR, LF, NUL,
any control character, a space) is refused rather than repaired.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from livepost.errors import ConfigurationError

DEFAULT_PORTS = {"http": 80, "https": 443}

_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_NAME = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%-]+")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(%[0-9A-Za-z._~-]+)?")
# `urlsplit` overlooks what stands between a bracket and the port.
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*:[^\[\]]*\]|[^\[\]:]*)(:[0-9]*)?")
# IDNA of 2003, which is Python's, takes these for other letters or for nothing, that of 2008 for themselves:
# so they are another name, and perhaps another owner (RFC 5894 section 7.2).
_READ_IN_TWO_WAYS = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")
# Everything RFC 3986 allows in a path or query, and "%" so that what is encoded stays as it is.
_TARGET_SAFE = "/?:@!$&'()*+,;=-._~%[]|"

_HINT = "write it as http://host:port/path; in a user or password, percent-encode / ? # and @"


@dataclass(frozen=True, slots=True)
class Target:
    """One URL that requests are sent to."""

    scheme: str
    host: str
    """Name or address without brackets, lower case, internationalised names in ASCII form."""
    port: int
    path: str = field(repr=False)
    """Path and query, percent-encoded, beginning with a slash."""
    authorization: bytes | None = field(default=None, repr=False)
    """Basic credentials taken from the URL, ready as a field value.  Never shown."""

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the scheme's own; addresses of IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def host_and_port(self) -> str:
        """As `authority`, always with the port: what CONNECT asks a proxy for."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection can serve (RFC 6454 section 4)."""
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        """The URL without credentials and without the query, which may hold a secret."""
        return f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"


def parse_target(url: str, what: str = "URL") -> Target:
    """Take an http or https URL apart.

    `what` names the URL in errors ("URL", "proxy URL").  Raises ConfigurationError; its text never
    repeats a part of the URL that may hold a password or a token.
    """
    if _UNSAFE.search(url):
        raise ConfigurationError(
            f"the {what} contains a space or a control character",
            "percent-encode it (a space is %20)",
        )
    scheme, separator, _ = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ConfigurationError(
            f"the {what} has no scheme{_shown(url)}", "begin it with http:// or https://"
        )
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise ConfigurationError(f"the {what}'s scheme is not supported: {scheme}", "use http:// or https://")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(f"the {what} cannot be understood{_shown(url)}", _HINT) from None
    try:
        port = parts.port
    except ValueError:
        # Its text may repeat a part of a password that was taken for a port.
        raise ConfigurationError(
            f"the {what} names a port that is not a number from 1 to 65535{_shown(url)}", _HINT
        ) from None
    if not _HOST_AND_PORT.fullmatch(parts.netloc.rpartition("@")[2]):
        raise ConfigurationError(f"the {what} cannot be understood{_shown(url)}", _HINT)
    if port == 0:
        raise ConfigurationError(
            f"the {what} names port 0, which nothing can listen on", "write a port from 1 to 65535"
        )
    return Target(
        scheme=scheme,
        host=_host(parts.hostname or "", url, what),
        port=DEFAULT_PORTS[scheme] if port is None else port,
        path=_path(parts),
        authorization=_basic(parts.username, parts.password),
    )


def ascii_name(name: str) -> str:
    """The name of a host as it is looked up: lower case, other scripts in ASCII form.  Raises ValueError."""
    # Also finds labels that are empty or too long.
    name = name.lower().encode("idna").decode("ascii")
    if not _NAME.fullmatch(name):
        raise ValueError("not the name of a host")
    return name


def _path(parts: SplitResult) -> str:
    # A command line that is not UTF-8 reaches Python with surrogates for its bytes.
    path = quote(parts.path or "/", safe=_TARGET_SAFE, errors="surrogateescape")
    if parts.query:
        path += "?" + quote(parts.query, safe=_TARGET_SAFE, errors="surrogateescape")
    return path


def _host(host: str, url: str, what: str) -> str:
    if not host:
        raise ConfigurationError(f"the {what} names no host", _HINT)
    invalid = ConfigurationError(f"the {what}'s host is not a valid name{_shown(url)}", _HINT)
    if ":" in host:
        # In a URL the percent sign before a zone is encoded (RFC 6874); many do without.
        host = host.replace("%25", "%", 1)
        if not _ADDRESS.fullmatch(host):
            raise invalid
        return host
    if _READ_IN_TWO_WAYS.search(host):
        raise ConfigurationError(
            f"the {what}'s host can be read as two names{_shown(url)}",
            "write it in ASCII, as in xn--strae-oqa",
        )
    try:
        return ascii_name(host)
    except ValueError:
        raise invalid from None


def _basic(user: str | None, password: str | None) -> bytes | None:
    if user is None and password is None:
        return None
    pair = b":".join(
        unquote_to_bytes((part or "").encode("utf-8", "surrogateescape")) for part in (user, password)
    )
    return b"Basic " + base64.b64encode(pair)


def _shown(url: str) -> str:
    """The URL for a message, without its query; nothing if an @ says that it may hold a password."""
    return "" if "@" in url else ": " + re.split("[?#]", url, maxsplit=1)[0]
