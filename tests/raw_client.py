"""A client whose every byte the test chooses, for servers."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, NamedTuple

PATIENCE_SECONDS = 10.0


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """Writes bytes and reads answers on a connected socket, which it closes in the end."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_SECONDS)
        self.sock = sock
        self._file = sock.makefile("rb")

    @classmethod
    def dial(cls, port: int) -> RawClient:
        return cls(socket.create_connection(("127.0.0.1", port)))

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_for_ever(self, data: bytes) -> None:
        """Until the server no longer takes it: ends with a ConnectionError."""
        while True:
            self.sock.sendall(data)

    def answer(self, *, to_head: bool = False) -> Answer:
        """Read one answer; its body must be framed by Content-Length."""
        version, status, _ = self._file.readline().decode().split(" ", 2)
        assert version == "HTTP/1.1"
        fields = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        body = b"" if to_head else self._file.read(int(fields.get("content-length", "0")))
        return Answer(int(status), fields, body)

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.answer()

    def rest(self) -> bytes:
        """What still arrives until the server closes; ConnectionResetError if it does so by RST."""
        return self._file.read()

    def ending(self) -> str:
        """How the server ended the connection without a further byte: `closed` or `reset`."""
        try:
            return "closed" if self.rest() == b"" else "answered"
        except ConnectionResetError:
            return "reset"


def post(body: bytes = b"{}", *fields: str, target: str = "/api", version: str = "1.1") -> bytes:
    """The bytes of a POST with Host, Content-Length and `fields`."""
    lines = [f"POST {target} HTTP/{version}", "Host: localhost", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(target: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """The bytes of a request without a body."""
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: localhost", *fields, "", ""]).encode()
