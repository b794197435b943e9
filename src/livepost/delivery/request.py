"""What every request of a run has in common, from the options a user gave."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from livepost import __version__
from livepost.config import DeliveryOptions
from livepost.errors import ConfigurationError
from livepost.target import Target
from livepost.wire.message import Fields, RequestHead
from livepost.wire.request_head import ENGINE_FIELDS, check_field, check_request_line

_DEFAULT_FIELDS: Fields = (
    (b"User-Agent", b"livepost/" + __version__.encode("ascii")),
    (b"Accept", b"*/*"),
    (b"Content-Type", b"application/json"),
)

# It names an authority instead of a path, and a body is not part of it (RFC 9110 section 9.3.6, RFC 9113
# section 8.5).
_TUNNEL_METHOD = b"CONNECT"

_LINE_HINT = "write it as 'Name: value', on one line"


class _Line(NamedTuple):
    where: str
    """Where the user wrote it."""
    text: str


def make_request_head(options: DeliveryOptions, proxy: Target | None) -> RequestHead:
    """The head of every request of the run; `proxy` if one is spoken to without a tunnel.

    Raises ConfigurationError for a method or header that cannot be sent.
    """
    target = options.target
    lines = [
        line for number, given in enumerate(options.request.headers, 1) for line in _lines(number, given)
    ]
    fields, host, expects_continue = _merge(lines, target.authorization)
    authority = host or target.authority.encode("ascii")
    request_target = target.path.encode("ascii")
    if proxy is not None:
        request_target = f"{target.scheme}://{target.authority}{target.path}".encode("ascii")
        if proxy.authorization is not None:
            fields = (*fields, (b"Proxy-Authorization", proxy.authorization))
    method = _as_given(options.request.method)
    if method == _TUNNEL_METHOD:
        raise ConfigurationError(
            "-X CONNECT asks for a tunnel, which delivers nothing", "give another method"
        )
    try:
        check_request_line(method, request_target, authority)
    except ValueError as error:
        raise ConfigurationError(str(error), "check -X, the URL and -H") from None
    return RequestHead(
        method=method,
        target=request_target,
        authority=authority,
        scheme=target.scheme.encode("ascii"),
        fields=fields,
        expect_continue=expects_continue,
        close=options.limits.disable_keep_alives,
    )


def make_keepalive_head(
    options: DeliveryOptions, head: RequestHead, proxy: Target | None
) -> RequestHead | None:
    """The head of the safe request for `--keepalive-path`, with the fields of `head`; None without it."""
    path = options.liveness.keepalive_path
    if path is None:
        return None
    target = options.target
    return RequestHead(
        method=b"GET",
        target=(path if proxy is None else f"{target.scheme}://{target.authority}{path}").encode("ascii"),
        authority=head.authority,
        scheme=head.scheme,
        fields=tuple(field for field in head.fields if field[0].lower() != b"content-type"),
    )


def _lines(number: int, given: str) -> list[_Line]:
    """The header lines that one -H stands for."""
    if not given.startswith("@"):
        return [_Line(f"-H number {number}", given)]
    path = given[1:]
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"-H @{path} cannot be read: {reason}", "give a text file of header lines"
        ) from None
    # Not splitlines, which takes a dozen other characters for line ends.
    return [
        _Line(f"line {line_number} of {path}", line.removesuffix("\r"))
        for line_number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def _merge(lines: list[_Line], authorization: bytes | None) -> tuple[Fields, bytes | None, bool]:
    """The user's header lines over the defaults: fields, a Host of the user's, Expect: 100-continue."""
    fields = list(_DEFAULT_FIELDS)
    if authorization is not None:
        fields.append((b"Authorization", authorization))
    replaceable = {name.lower() for name, _ in fields}
    host = None
    expects_continue = False
    for line in lines:
        name, value = _parse(line)
        key = name.lower()
        if key == b"host" and value:
            host = value
        elif key in ENGINE_FIELDS:
            raise ConfigurationError(f"-H {name.decode()}: livepost sets this header itself", "leave it out")
        elif key == b"expect":
            if value is not None and value.lower() != b"100-continue":
                raise ConfigurationError(
                    "-H Expect: only 100-continue can be expected", "use 'Expect: 100-continue'"
                )
            expects_continue = value is not None
        else:
            if key in replaceable:
                fields = [field for field in fields if field[0].lower() != key]
                replaceable.discard(key)
            if value is not None:
                fields.append((name, value))
    return tuple(fields), host, expects_continue


def _parse(line: _Line) -> tuple[bytes, bytes | None]:
    """`Name: value`, `Name:` (value None: leave the default out) or `Name;` (empty), as curl reads them.

    What cannot be read is not shown: it may be a token that was meant to be a value.
    """
    name, colon, rest = line.text.partition(":")
    value: bytes | None
    if colon:
        value = _as_given(rest.strip(" \t")) or None
    elif line.text.endswith(";"):
        name, value = line.text[:-1], b""
    else:
        raise ConfigurationError(f"{line.where} is no header: it has no colon", _LINE_HINT)
    encoded = _as_given(name)
    try:
        check_field(encoded, b"")
    except ValueError:
        raise ConfigurationError(
            f"{line.where} is no header: what stands before the colon is not a name", _LINE_HINT
        ) from None
    try:
        check_field(encoded, value or b"")
    except ValueError as error:
        raise ConfigurationError(str(error), _LINE_HINT) from None
    return encoded, value


def _as_given(text: str) -> bytes:
    """The bytes of the command line: those that are not UTF-8 reach Python as surrogates."""
    return text.encode("utf-8", "surrogateescape")
