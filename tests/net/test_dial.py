from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest
from certificates import Authority
from forwarding_proxy import forwarding
from net_fakes import descriptors, tcp_pair, turn_until
from scripted_peer import ScriptedPeer

from livepost.clock import monotonic
from livepost.config import DeliveryOptions, RouteOptions, Timeouts, TlsOptions
from livepost.errors import ConfigurationError, DialError, PermanentDialError
from livepost.events import HttpVersion
from livepost.net import dial as dial_module
from livepost.net.dial import Dialed, Dialer
from livepost.target import parse_target

Loop = asyncio.AbstractEventLoop


def make_dialer(url: str, *, tls: TlsOptions | None = None, **settings: Any) -> Dialer:
    """Settings are those of the route, and timeouts."""
    limits = {name: settings.pop(name) for name in tuple(settings) if name.endswith(("_timeout", "_time"))}
    options = DeliveryOptions(
        target=parse_target(url),
        route=RouteOptions(**settings),
        timeouts=Timeouts(**limits),
        tls=tls or TlsOptions(),
    )
    return Dialer(options, None, monotonic)


def dial(loop: Loop, dialer: Dialer) -> str:
    """Dial, hang up, and return where to."""
    dialed = loop.run_until_complete(dialer.dial())
    dialed.socket.close()
    return dialed.address


def failure(loop: Loop, dialer: Dialer) -> tuple[type[DialError], str, str]:
    """The error of a dial: its class, message and hint.  Nothing stays open."""
    before = descriptors()
    with pytest.raises(DialError) as caught:
        loop.run_until_complete(dialer.dial())
    assert descriptors() == before
    return caught.type, str(caught.value), caught.value.hint


class Listener:
    """Listens on one address; the kernel accepts."""

    def __init__(self, host: str, port: int = 0, backlog: int = 100) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.socket.listen(backlog)
        self.host = host
        self.port: int = self.socket.getsockname()[1]
        self._fillers: list[socket.socket] = []

    def become_silent(self) -> None:
        """Fill the queue, so that the kernel answers no further SYN."""
        self.socket.listen(0)
        for _ in range(2):
            filler = socket.socket(self.socket.family)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((self.host, self.port))
            self._fillers.append(filler)

    def close(self) -> None:
        self.socket.close()
        for filler in self._fillers:
            filler.close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners = []

    def make(host: str = "127.0.0.1", port: int = 0) -> Listener:
        listeners.append(Listener(host, port))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are connected to, in order."""
    seen: list[str] = []
    connect = socket.socket.connect

    def spy(sock: socket.socket, address: Any) -> None:
        seen.append(address[0] if isinstance(address, tuple) else address)
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", spy)
    return seen


def refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


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


def test_a_unix_socket(loop: Loop, tmp_path: Path, attempts: list[str]) -> None:
    path = str(tmp_path / "server.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        dialer = make_dialer("http://no-such-host.test/", unix_socket=path)
        assert dial(loop, dialer) == path
        assert dial(loop, dialer) == path
    assert attempts == [path, path]


def full_unix_socket(path: Path) -> tuple[socket.socket, socket.socket]:
    """A server that accepts nobody, and the one client in its queue."""
    listener, first = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(0)
    first.connect(str(path))
    return listener, first


def test_a_unix_socket_whose_queue_is_full_is_waited_for(loop: Loop, tmp_path: Path) -> None:
    async def main(listener: socket.socket) -> None:
        task = asyncio.create_task(make_dialer("http://api.test/", unix_socket=str(path)).dial())
        await asyncio.sleep(0.05)
        assert not task.done()
        accepted = [listener.accept()[0]]
        dialed = await task
        assert (dialed.address, dialed.socket.send(b"x")) == (str(path), 1)
        accepted.append(listener.accept()[0])
        assert accepted[1].recv(9) == b"x"
        for sock in (*accepted, dialed.socket):
            sock.close()

    path = tmp_path / "server.sock"
    listener, first = full_unix_socket(path)
    with listener, first:
        loop.run_until_complete(main(listener))


def test_a_unix_socket_whose_queue_stays_full(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    listener, first = full_unix_socket(path)
    with listener, first:
        dialer = make_dialer("http://api.test/", unix_socket=str(path), connect_timeout=0.05)
        assert failure(loop, dialer)[:2] == (
            DialError,
            f"unix socket {path} did not take a connection within 0.05 s",
        )


def test_tls_over_a_unix_socket(loop: Loop, tmp_path: Path, authority: Authority) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.read()

    async def main() -> None:
        path = tmp_path / "server.sock"
        context = authority.server_context("api.test")
        async with ScriptedPeer(wait, ssl_context=context, unix_socket=path):
            dialer = make_dialer(
                "https://api.test/", unix_socket=str(path), tls=TlsOptions(cacert=str(authority.ca_file))
            )
            dialed = await dialer.dial()
            assert (dialed.address, dialed.tls_version) == (str(path), "TLSv1.3")
            dialed.socket.close()

    loop.run_until_complete(main())


def test_a_unix_socket_that_is_not_there(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    dialer = make_dialer("http://api.test/", unix_socket=str(path))
    # Not for good: a server that starts again makes it anew.
    assert failure(loop, dialer) == (
        DialError,
        f"unix socket {path} cannot be opened: No such file or directory",
        "check --unix-socket",
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert failure(loop, dialer) == (
        DialError,
        f"unix socket {path} refused the connection",
        "is the server running, and is that its port?",
    )


def test_a_unix_socket_that_will_never_work(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 200)
    assert failure(loop, make_dialer("http://api.test/", unix_socket=str(long))) == (
        PermanentDialError,
        f"unix socket {long} cannot be opened: AF_UNIX path too long",
        "check --unix-socket",
    )

    def forbid(sock: socket.socket, address: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", forbid)
    assert failure(loop, make_dialer("http://api.test/", unix_socket="/run/private.sock")) == (
        PermanentDialError,
        "unix socket /run/private.sock cannot be opened: Permission denied",
        "check --unix-socket",
    )


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


H1, H2 = HttpVersion.HTTP_1_1, HttpVersion.HTTP_2


async def spoken_by(dialer: Dialer) -> HttpVersion:
    """Dial, wait until the server has the connection, and hang up."""
    dialed = await dialer.dial()
    dialed.socket.setblocking(False)
    try:
        data = b""
        while not data:
            await asyncio.sleep(0.001)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                data = dialed.socket.recv(1)
    finally:
        dialed.socket.close()
    return dialed.http_version


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(b"hello")
    await reader.read()


@pytest.mark.parametrize(
    ("route", "expected"),
    [({}, H1), ({"http1_1": True}, H1), ({"http2_prior_knowledge": True}, H2)],
)
def test_what_is_spoken_without_tls(loop: Loop, route: dict[str, Any], expected: HttpVersion) -> None:
    async def main() -> None:
        async with ScriptedPeer(greet) as peer:
            dialer = make_dialer(peer.url, **route)
            assert await spoken_by(dialer) is expected
            # And from then on HTTP/1.1, whatever was asked for.
            dialer.speak_http_1_1()
            assert await spoken_by(dialer) is H1

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("route", "spoken", "expected"),
    [
        ({}, ["h2", "http/1.1"], H2),
        ({}, ["http/1.1"], H1),
        ({}, [], H1),
        ({"http1_1": True}, ["h2", "http/1.1"], H1),
        ({"http2_prior_knowledge": True}, ["h2"], H2),
        ({"http2_prior_knowledge": True}, ["http/1.1"], H1),
        ({"http2_prior_knowledge": True}, [], H2),
    ],
)
def test_what_is_spoken_over_tls(
    loop: Loop, authority: Authority, route: dict[str, Any], spoken: list[str], expected: HttpVersion
) -> None:
    server = authority.server_context()
    if spoken:
        server.set_alpn_protocols(spoken)

    async def main() -> None:
        async with ScriptedPeer(greet, ssl_context=server) as peer:
            tls = TlsOptions(cacert=str(authority.ca_file))
            dialer = make_dialer(f"https://localhost:{peer.port}", tls=tls, **route)
            assert await spoken_by(dialer) is expected
            if spoken != ["h2"]:
                dialer.speak_http_1_1()
                assert await spoken_by(dialer) is H1

    loop.run_until_complete(main())


@pytest.mark.parametrize("prior_knowledge", [True, False])
def test_what_is_spoken_through_a_proxy(loop: Loop, authority: Authority, prior_knowledge: bool) -> None:
    """With one that is given whole URLs HTTP/1.1, whatever is known of the server; in a tunnel as without."""
    server = authority.server_context()
    server.set_alpn_protocols(["h2", "http/1.1"])
    heads: list[bytes] = []

    async def main() -> None:
        async with ScriptedPeer(greet, ssl_context=server) as secure:
            for url, script, expected in (
                ("http://192.0.2.1/", greet, H1),
                (f"https://localhost:{secure.port}", forwarding(heads), H2),
            ):
                async with ScriptedPeer(script) as proxy:
                    options = DeliveryOptions(
                        target=parse_target(url),
                        tls=TlsOptions(cacert=str(authority.ca_file)),
                        route=RouteOptions(http2_prior_knowledge=prior_knowledge),
                    )
                    dialer = Dialer(options, parse_target(proxy.url), monotonic)
                    assert await spoken_by(dialer) is expected

    loop.run_until_complete(main())
    assert heads[0].startswith(b"CONNECT localhost:")


@pytest.mark.parametrize(
    ("route", "chosen", "is_taken"),
    [
        ({}, "spdy/3", False),
        ({}, "", False),
        ({"http1_1": True}, "h2", False),
        ({"http1_1": True}, "http/1.1", True),
    ],
)
def test_what_was_not_offered_is_not_spoken(
    loop: Loop,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    route: dict[str, Any],
    chosen: str,
    is_taken: bool,
) -> None:
    monkeypatch.setattr(ssl.SSLSocket, "selected_alpn_protocol", lambda sock: chosen)

    async def main() -> None:
        async with ScriptedPeer(greet, ssl_context=authority.server_context()) as peer:
            tls = TlsOptions(cacert=str(authority.ca_file))
            dialer = make_dialer(f"https://localhost:{peer.port}", tls=tls, **route)
            if is_taken:
                assert await spoken_by(dialer) is H1
                return
            with pytest.raises(DialError) as caught:
                await dialer.dial()
            assert str(caught.value) == f"the server chose to speak {chosen!r}, which it was not offered"
            # The socket is closed: the event loop of these tests counts.

    loop.run_until_complete(main())
