"""Where connections end: what is learned of a connection's limits is learned of this."""

from __future__ import annotations

from dataclasses import dataclass

from livepost.target import Target


@dataclass(frozen=True, slots=True)
class Origin:
    """The server, or a proxy that takes requests for it; no path, query or credentials of any URL."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, target: Target, proxy: Target | None = None, unix_socket: str | None = None) -> Origin:
        """The end of the connections by which `target` is reached; that of a tunnel is the target."""
        if unix_socket is not None:
            return cls("unix", unix_socket, 0)
        if proxy is not None and not target.is_tls:
            return cls("proxy", proxy.host, proxy.port)
        return cls(target.scheme, target.host, target.port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"
