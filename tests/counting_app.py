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
    """Answer POST with 201 once its body is here, GET with the counts of the POSTs before."""
    while (await receive()).get("more_body"):
        pass
    if scope["method"] == "POST":
        _requests_of[tuple(scope["client"])] += 1
        status, body = 201, b'{"ok": true}'
    else:
        status, body = 200, json.dumps([len(_requests_of), _requests_of.total()]).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
