"""An ASGI application that counts; uvicorn and granian run it in processes of their own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

_requests_of: Counter[tuple[str, int]] = Counter()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer POST with 201 once its body is here, GET with the counts of the POSTs before.

    A POST of what holds `"slow"` is not answered as long as the client waits.
    """
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    body += message["body"]
    if b'"slow"' in body:
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["method"] == "POST":
        _requests_of[tuple(scope["client"])] += 1
        status, answer = 201, b'{"ok": true}'
    else:
        status, answer = 200, json.dumps([len(_requests_of), _requests_of.total()]).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
