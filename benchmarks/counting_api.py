"""An API that counts what it is sent, by path: for ASGI servers, for WSGI servers, and by itself.

A POST is answered with 201, after as many milliseconds as its query says (`?wait=50`; at once without one),
a GET with {path: [connections, requests, different bodies]} of the POSTs before.  Started as a program it
listens on the port that it is given, without keep-alive: for servers that only pass requests on.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class _Counted:
    """What came to one path."""

    def __init__(self) -> None:
        self.clients: set[tuple[Any, ...]] = set()
        self.requests = 0
        self.bodies: set[bytes] = set()


_paths: dict[str, _Counted] = {}
_counting = threading.Lock()


def _answer(method: str, path: str, client: tuple[Any, ...], body: bytes) -> tuple[int, bytes]:
    with _counting:
        if method == "POST":
            counted = _paths.setdefault(path, _Counted())
            counted.clients.add(client)
            counted.requests += 1
            counted.bodies.add(body)
            return 201, b'{"ok": true}'
        counts = {path: (len(one.clients), one.requests, len(one.bodies)) for path, one in _paths.items()}
        return 200, json.dumps(counts).encode()


def _wait_seconds(query: str) -> float:
    return int(urllib.parse.parse_qs(query).get("wait", ["0"])[0]) / 1000


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """For ASGI servers."""
    if scope["type"] != "http":
        # As a server expects of an application that has no start of its own.
        raise NotImplementedError(scope["type"])
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status, answer = _answer(scope["method"], scope["path"], tuple(scope["client"]), body)
    if wait := _wait_seconds(scope["query_string"].decode()):
        await asyncio.sleep(wait)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """For WSGI servers."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    client = (environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT"))
    status, answer = _answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], client, body)
    if wait := _wait_seconds(environ.get("QUERY_STRING", "")):
        time.sleep(wait)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    start_response({200: "200 OK", 201: "201 Created"}[status], headers)
    return [answer]


class _Server(ThreadingMixIn, WSGIServer):
    request_queue_size = 1024
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), application, _Server, _QuietHandler).serve_forever()
