"""Which proxy, if any, a URL is reached through, and how to pass it.

For http the proxy is sent whole URLs (absolute form, RFC 9112 section 3.2.2); for https it is asked
for a tunnel with CONNECT (RFC 9110 section 9.3.6).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping

from livepost.config import RouteOptions
from livepost.errors import ConfigurationError, DialError, PermanentDialError
from livepost.target import Target, ascii_name, parse_target
from livepost.wire.response_head import HEAD_BYTES_LIMIT, ProtocolError, ResponseHead, read_response_head

_BEGINNING = b"HTTP/1."
_WITH_PORT = re.compile(r"(\[.*\]|[^:]*):([0-9]+)")


def proxy_of(route: RouteOptions, target: Target) -> Target | None:
    """The proxy on the way to this target.  Raises as `choose_proxy`."""
    return None if route.unix_socket else choose_proxy(target, route.proxy)


def forwarder_of(route: RouteOptions, target: Target) -> Target | None:
    """The proxy that is sent whole URLs for this target; None also for one that livepost cannot use."""
    try:
        return None if target.is_tls else proxy_of(route, target)
    except ConfigurationError:
        # Whoever makes the connections will tell.
        return None


def choose_proxy(
    target: Target, given: str | None, environment: Mapping[str, str] | None = None
) -> Target | None:
    """The proxy to use: `given`, or what the environment says; "" means none.

    Reads http_proxy, https_proxy, all_proxy and no_proxy, lower case first.  Raises
    ConfigurationError for a proxy that livepost cannot use.
    """
    if given is None:
        given = _proxy_from_environment(target, os.environ if environment is None else environment)
    if not given:
        return None
    if "://" not in given:
        given = f"http://{given}"
    if not given.lower().startswith("http://"):
        # What stands there instead may hold a password.
        raise ConfigurationError(
            "the proxy URL is not an http:// URL", "TLS and SOCKS to the proxy itself are not supported"
        )
    return parse_target(given, "proxy URL")


def _proxy_from_environment(target: Target, environment: Mapping[str, str]) -> str:
    def variable(name: str) -> str:
        return environment.get(name) or environment.get(name.upper()) or ""

    # In a CGI program HTTP_PROXY comes from the request's "Proxy:" header (CVE-2016-5385).
    if target.scheme == "http" and "REQUEST_METHOD" in environment:
        proxy = environment.get("http_proxy", "")
    else:
        proxy = variable(f"{target.scheme}_proxy")
    proxy = proxy or variable("all_proxy")
    if not proxy or _is_exempt(target, variable("no_proxy")):
        return ""
    return proxy


def _is_exempt(target: Target, no_proxy: str) -> bool:
    """curl's rule: `*`, or hosts, domains (a dot at either end changes nothing), addresses and networks.

    As in `localhost,example.com,10.0.0.0/8`; a port behind one limits it to that port.
    """
    for entry in no_proxy.replace(",", " ").lower().split():
        if entry == "*":
            return True
        with_port = _WITH_PORT.fullmatch(entry)
        name, port = with_port.groups() if with_port else (entry, str(target.port))
        if port == str(target.port) and _covers(_as_looked_up(name), target.host.rstrip(".")):
            return True
    return False


def _as_looked_up(name: str) -> str:
    name = name.strip("[]").strip(".")
    with contextlib.suppress(ValueError):
        return ascii_name(name)
    return name


def _covers(name: str, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == name or (name != "" and host.endswith(f".{name}"))
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


async def open_tunnel(sock: socket.socket, proxy: Target, target: Target) -> None:
    """Ask the proxy at the other end of `sock` for a tunnel to the target.

    Raises DialError when the proxy refuses, OSError when the connection fails.
    """
    loop = asyncio.get_running_loop()
    request = f"CONNECT {target.host_and_port} HTTP/1.1\r\nHost: {target.host_and_port}\r\n".encode("ascii")
    if proxy.authorization is not None:
        request += b"Proxy-Authorization: " + proxy.authorization + b"\r\n"
    await loop.sock_sendall(sock, request + b"\r\n")
    head, rest = await _read_answer(sock, proxy)
    if head.status == 407:
        raise PermanentDialError(
            f"the proxy {proxy.authority} asks for a user and password",
            "give them as --proxy http://USER:PASSWORD@HOST:PORT",
        )
    if not 200 <= head.status < 300:
        where = f"a tunnel to {target.host_and_port}"
        doubted = "can the proxy itself reach" if head.status >= 500 else "does the proxy allow"
        raise DialError(
            f"the proxy {proxy.authority} refused {where} with status {head.status}",
            f"{doubted} that host and port?",
        )
    if rest:
        raise DialError(f"the proxy {proxy.authority} sent bytes nobody asked for", "")


async def _read_answer(sock: socket.socket, proxy: Target) -> tuple[ResponseHead, bytes]:
    """The head of the final answer, and what came after it.  Heads before it (1xx) count for its length."""
    loop = asyncio.get_running_loop()
    answer = b""
    begin = 0
    while True:
        end = answer.find(b"\r\n\r\n", begin) + 4
        if end > 3:
            try:
                head = read_response_head(answer[begin:end])
            except ProtocolError:
                raise _not_a_proxy(proxy) from None
            if head.status >= 200 or head.status == 101:
                return head, answer[end:]
            begin = end
            continue
        # Do not wait for the end of what is no answer.
        beginning = answer[begin : begin + len(_BEGINNING)]
        if len(answer) > HEAD_BYTES_LIMIT or not _BEGINNING.startswith(beginning):
            raise _not_a_proxy(proxy)
        data = await loop.sock_recv(sock, 4096)
        if not data:
            raise DialError(
                f"the proxy {proxy.authority} closed the connection instead of opening a tunnel", ""
            )
        answer += data


def _not_a_proxy(proxy: Target) -> DialError:
    return PermanentDialError(f"{proxy.authority} does not answer like an HTTP proxy", "check --proxy")
