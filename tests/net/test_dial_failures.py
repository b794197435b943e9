"""Dials that end without a connection: what is said, and that nothing stays open."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any

import aiohappyeyeballs
import pytest
from dial_world import Listener, Loop, dial, failure, make_dialer, refusing_port
from net_fakes import tcp_pair

from livepost.errors import DialError, PermanentDialError


def test_refused(loop: Loop) -> None:
    port = refusing_port()
    for host in ("127.0.0.1", "localhost"):
        assert failure(loop, make_dialer(f"http://{host}:{port}/")) == (
            DialError,
            f"{host}:{port} refused the connection",
            "is the server running, and is that its port?",
        )


def test_nobody_takes_the_connection(loop: Loop, listen: Callable[..., Listener]) -> None:
    listener = listen()
    listener.become_silent()
    dialer = make_dialer(f"http://127.0.0.1:{listener.port}/", connect_timeout=0.05)
    assert failure(loop, dialer) == (
        DialError,
        f"127.0.0.1:{listener.port} did not take a connection within 0.05 s",
        "check the address and firewalls, or allow more with --connect-timeout",
    )


@pytest.mark.parametrize(
    ("number", "kind", "message", "hint"),
    [
        (
            socket.EAI_NONAME,
            PermanentDialError,
            "there is no host named api.test",
            "check the spelling of the URL",
        ),
        (
            socket.EAI_AGAIN,
            DialError,
            "the name api.test cannot be looked up at the moment",
            "check the network and its DNS",
        ),
    ],
)
def test_a_name_that_cannot_be_looked_up(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[DialError], message: str, hint: str
) -> None:
    loop = asyncio.new_event_loop()

    def look_up(host: str, port: int, **how: Any) -> list[Any]:
        raise socket.gaierror(number, "as the system says it")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert failure(loop, make_dialer("http://api.test/")) == (kind, message, hint)
    loop.close()


def test_a_name_that_was_there_before_is_not_gone_for_good(
    loop: Loop, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"api.test": "127.0.0.1"}
    get_address_info = socket.getaddrinfo

    def look_up(host: str, port: int, **how: Any) -> list[Any]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return get_address_info(names[host], port, **how)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    listener = listen()
    dialer = make_dialer(f"http://api.test:{listener.port}/")
    address = dial(loop, dialer)
    del names["api.test"]
    assert failure(loop, dialer) == (
        DialError,
        "the name api.test cannot be looked up at the moment",
        "check the network and its DNS",
    )
    names["api.test"] = "127.0.0.1"
    assert dial(loop, dialer) == address


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 80)"),
            "api.test:80 cannot be reached: No route to host",
        ),
        (
            OSError(errno.ENETUNREACH, "Network is unreachable"),
            "api.test:80 cannot be reached: Network is unreachable",
        ),
        (
            OSError(errno.ETIMEDOUT, "Connect call failed ('192.0.2.1', 80)"),
            "api.test:80 cannot be reached: Connection timed out",
        ),
        (
            OSError(
                "Multiple exceptions: [Errno 101] Connect call failed ('2001:db8::1', 80, 0, 0), "
                "[Errno 111] Connect call failed ('192.0.2.1', 80)"
            ),
            "api.test:80 refused the connection",
        ),
        (
            OSError("Multiple exceptions: [Errno 101] one, [Errno 113] another"),
            "api.test:80 cannot be reached: Multiple exceptions: [Errno 101] one, [Errno 113] another",
        ),
    ],
)
def test_what_the_system_says(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    async def start_connection(addresses: Any, **how: Any) -> socket.socket:
        raise error

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start_connection)
    # Without limits, a TimeoutError is the kernel's.
    dialer = make_dialer("http://api.test/", resolve=("api.test:80:192.0.2.1",), connect_timeout=None)
    kind, text, hint = failure(loop, dialer)
    assert (kind, text) == (DialError, message)
    if "cannot be reached" in message:
        assert hint == "check the address and the network"


@pytest.fixture
def no_more_files() -> Iterator[Callable[[], None]]:
    """Let this process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def forbid() -> None:
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))

    yield forbid
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("is_first", [True, False])
def test_too_many_open_files(
    loop: Loop, listen: Callable[..., Listener], no_more_files: Callable[[], None], is_first: bool
) -> None:
    dialer = make_dialer(f"http://127.0.0.1:{listen().port}/")
    if not is_first:
        dial(loop, dialer)

    async def main() -> None:
        no_more_files()
        await dialer.dial()

    with pytest.raises(DialError) as caught:
        loop.run_until_complete(main())
    assert str(caught.value) == "no more connections: too many open files"
    assert caught.value.hint == "lower --connections or raise `ulimit -n`"


def test_a_peer_that_is_gone_as_soon_as_it_is_there(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = tcp_pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    theirs.close()

    async def start_connection(addresses: Any, **how: Any) -> socket.socket:
        return ours

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start_connection)
    dialer = make_dialer("http://127.0.0.1/")
    dialed = loop.run_until_complete(dialer.dial())
    assert dialed.address == "unknown"
    dialed.socket.close()
    assert dialer._remembered is None


def test_a_socket_that_takes_no_options_is_closed(
    loop: Loop, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS, when the peer has reset the connection."""
    listener = listen()

    def refuse(sock: socket.socket, *what: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(socket.socket, "setsockopt", refuse)
    kind, message, _ = failure(loop, make_dialer(f"http://127.0.0.1:{listener.port}/"))
    assert (kind, message) == (
        DialError,
        f"127.0.0.1:{listener.port} cannot be reached: Invalid argument",
    )
