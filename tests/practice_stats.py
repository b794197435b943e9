"""What `GET /stats` of the practice server answers."""

from __future__ import annotations

from typing import Any


def stats(
    connections: int,
    requests: int,
    *,
    full: int = 0,
    resumed: int = 0,
    http2: int = 0,
    idle: int = 0,
    cap: int = 0,
    age: int = 0,
    **account: Any,
) -> dict[str, Any]:
    """`full` and `resumed` are TLS handshakes; `account` is what a server adds that keeps one."""
    return {
        "connections": connections,
        "requests": requests,
        "handshakes": full + resumed,
        "full": full,
        "resumed": resumed,
        "protocols": {"http/1.1": connections - http2, "h2": http2},
        "ended": {"idle": idle, "cap": cap, "age": age},
        **account,
    }
