from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Any

import pytest
from dial_world import Listener, Loop, dial, failure, make_dialer
from net_fakes import descriptors, turn_until

from livepost.config import DeliveryOptions
from livepost.errors import ConfigurationError, DialError
from livepost.net import dial as dial_module
from livepost.net.dial import Dialed, Dialer
from livepost.target import parse_target


def test_a_plain_connection(loop: Loop, listen: Callable[..., Listener]) -> None:
    listener = listen()
    times = iter([10.0, 10.25])
    options = DeliveryOptions(target=parse_target(f"http://127.0.0.1:{listener.port}/"))
    dialed = loop.run_until_complete(Dialer(options, None, lambda: next(times)).dial())
    with dialed.socket as sock:
        assert dialed == Dialed(sock, f"127.0.0.1:{listener.port}", 0.25, None, False)
        assert type(sock) is socket.socket
        assert sock.gettimeout() == 0.0
        accepted, address = listener.socket.accept()
        assert sock.getsockname() == address
        accepted.close()


def test_addresses_of_ipv6_are_shown_in_brackets(loop: Loop, listen: Callable[..., Listener]) -> None:
    listener = listen("::1")
    assert dial(loop, make_dialer(f"http://[::1]:{listener.port}/")) == f"[::1]:{listener.port}"


def test_a_host_is_looked_up(loop: Loop, listen: Callable[..., Listener]) -> None:
    listener = listen()
    assert dial(loop, make_dialer(f"http://localhost:{listener.port}/")) == f"127.0.0.1:{listener.port}"


@pytest.mark.parametrize("is_first", [True, False])
def test_options_of_the_socket(loop: Loop, listen: Callable[..., Listener], is_first: bool) -> None:
    dialer = make_dialer(f"http://127.0.0.1:{listen().port}/")
    if not is_first:
        dial(loop, dialer)
    dialed = loop.run_until_complete(dialer.dial())
    with dialed.socket as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 45
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


@pytest.mark.parametrize("max_time", [60.1, None])
def test_who_may_take_longer_may_also_read_nothing_for_longer(
    loop: Loop, listen: Callable[..., Listener], max_time: float | None
) -> None:
    dialer = make_dialer(f"http://127.0.0.1:{listen().port}/", max_time=max_time)
    with loop.run_until_complete(dialer.dial()).socket as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 45
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_addresses_race_only_on_the_first_dial(
    loop: Loop, listen: Callable[..., Listener], attempts: list[str]
) -> None:
    port = listen().port
    dialer = make_dialer(f"http://api.test:{port}/", resolve=(f"api.test:{port}:::1,127.0.0.1",))
    assert dial(loop, dialer) == f"127.0.0.1:{port}"
    assert attempts == ["::1", "127.0.0.1"]
    for _ in range(3):
        attempts.clear()
        assert dial(loop, dialer) == f"127.0.0.1:{port}"
        assert attempts == ["127.0.0.1"]


def test_a_silent_address_does_not_hold_up_the_others(
    loop: Loop, listen: Callable[..., Listener], attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY_SECONDS", 0.01)
    port = listen().port
    listen("127.0.0.2", port).become_silent()
    attempts.clear()
    dialer = make_dialer(f"http://api.test:{port}/", resolve=(f"api.test:{port}:127.0.0.2,127.0.0.1",))
    before = descriptors()
    assert dial(loop, dialer) == f"127.0.0.1:{port}"
    assert attempts == ["127.0.0.2", "127.0.0.1"]
    # The loser is closed.
    assert descriptors() == before


def test_the_winner_is_forgotten_when_it_refuses(
    loop: Loop, listen: Callable[..., Listener], attempts: list[str]
) -> None:
    first = listen()
    port = first.port
    listen("127.0.0.2", port)
    dialer = make_dialer(f"http://api.test:{port}/", resolve=(f"api.test:{port}:127.0.0.1,127.0.0.2",))
    assert dial(loop, dialer) == f"127.0.0.1:{port}"
    first.close()
    attempts.clear()
    assert dial(loop, dialer) == f"127.0.0.2:{port}"
    assert attempts == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
    attempts.clear()
    assert dial(loop, dialer) == f"127.0.0.2:{port}"
    assert attempts == ["127.0.0.2"]


def test_the_winner_is_forgotten_when_it_falls_silent(
    loop: Loop, listen: Callable[..., Listener], attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_module, "ATTEMPT_DELAY_SECONDS", 0.01)
    first = listen()
    port = first.port
    listen("127.0.0.2", port)
    dialer = make_dialer(
        f"http://api.test:{port}/",
        resolve=(f"api.test:{port}:127.0.0.1,127.0.0.2",),
        connect_timeout=0.1,
    )
    assert dial(loop, dialer) == f"127.0.0.1:{port}"
    first.become_silent()
    attempts.clear()
    failure(loop, dialer)
    assert attempts == ["127.0.0.1"]
    assert dial(loop, dialer) == f"127.0.0.2:{port}"


def test_looked_up_again_at_every_dial(
    listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may have moved on to another address, although the first is still there."""
    loop = asyncio.new_event_loop()
    first = listen()
    port = first.port
    listen("127.0.0.2", port)
    answers = iter([["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.2"], [], ["127.0.0.3"]])
    asked = []

    def look_up(host: str, port: int, **how: Any) -> list[Any]:
        asked.append((host, port, how))
        found = next(answers)
        if not found:
            raise socket.gaierror(socket.EAI_AGAIN, "as the system says it")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    dialer = make_dialer(f"http://api.test:{port}/")
    assert dial(loop, dialer) == f"127.0.0.1:{port}"
    # As long as the name leads there, the same.
    dialed = loop.run_until_complete(dialer.dial())
    dialed.socket.close()
    assert dialed.address == f"127.0.0.1:{port}"
    assert dialed.known_addresses == {f"127.0.0.1:{port}", f"127.0.0.2:{port}"}
    assert dial(loop, dialer) == f"127.0.0.2:{port}"
    # The name server is away, and the server is not.
    assert dial(loop, dialer) == f"127.0.0.2:{port}"
    assert failure(loop, dialer)[0] is DialError
    assert asked == [("api.test", port, {"type": socket.SOCK_STREAM})] * 5
    loop.close()


def test_resolve_is_for_one_host_and_port_and_ignores_case(
    loop: Loop, listen: Callable[..., Listener], attempts: list[str]
) -> None:
    port = listen("127.0.0.3").port
    lines = (f"other.test:{port}:127.0.0.8", "api.test:9:127.0.0.9", f"API.Test:{port}:127.0.0.3")
    assert dial(loop, make_dialer(f"http://api.test:{port}/", resolve=lines)) == f"127.0.0.3:{port}"
    assert attempts == ["127.0.0.3"]


def test_resolve_takes_names_in_other_scripts(loop: Loop, listen: Callable[..., Listener]) -> None:
    port = listen("127.0.0.3").port
    dialer = make_dialer(f"http://bücher.test:{port}/", resolve=(f"Bücher.test:{port}:127.0.0.3",))
    assert dial(loop, dialer) == f"127.0.0.3:{port}"


@pytest.mark.parametrize("address", ["[::1]", "::1", "127.0.0.9,[::1]", "::1,"])
def test_resolve_takes_addresses_of_ipv6(loop: Loop, listen: Callable[..., Listener], address: str) -> None:
    port = listen("::1").port
    dialer = make_dialer(f"http://api.test:{port}/", resolve=(f"api.test:{port}:{address}",))
    assert dial(loop, dialer) == f"[::1]:{port}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "api.test",
        "api.test:80",
        "api.test:80:",
        "api.test:80:other.test",
        "api.test:80:127.0.0.1,other.test",
        "api.test:http:127.0.0.1",
        "api.test:²:127.0.0.1",
        "api.test:123456:127.0.0.1",
        "api.test:65536:127.0.0.1",
        "api.test:0:127.0.0.1",
        "a..test:80:127.0.0.1",
        ":80:127.0.0.1",
        "api.test:80:127.0.0.1:80",
        "[::1]:80:127.0.0.1",
    ],
)
def test_resolve_that_cannot_be_understood(line: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_dialer("http://api.test/", resolve=(line,))
    assert str(caught.value) == f"--resolve {line} cannot be understood"
    assert caught.value.hint == "write it as HOST:PORT:ADDRESS, as in example.com:443:127.0.0.1"


def test_a_dial_cancelled_while_it_connects(loop: Loop, listen: Callable[..., Listener]) -> None:
    listener = listen()
    listener.become_silent()
    dialer = make_dialer(f"http://127.0.0.1:{listener.port}/")
    before = descriptors()
    task = loop.create_task(dialer.dial())
    turn_until(loop, lambda: len(descriptors()) > len(before))
    cancel(loop, task)
    assert descriptors() == before


def test_a_dial_cancelled_in_its_tls_handshake(loop: Loop, listen: Callable[..., Listener]) -> None:
    listener = listen()
    before = descriptors()
    task = loop.create_task(make_dialer(f"https://127.0.0.1:{listener.port}/").dial())
    turn_until(loop, lambda: select.select([listener.socket], [], [], 0)[0])
    accepted, _ = listener.socket.accept()
    with accepted:
        turn_until(loop, lambda: select.select([accepted], [], [], 0)[0])
        # Its ClientHello has come; no answer will.
        assert accepted.recv(1) == b"\x16"
        cancel(loop, task)
        accepted.settimeout(5.0)
        while accepted.recv(4096):
            pass
    assert descriptors() == before


def cancel(loop: Loop, task: asyncio.Task[Dialed]) -> None:
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
