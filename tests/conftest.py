"""What every test may ask for."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import uvloop
from certificates import Authority
from raw_client import RawClient

from livepost.rehearsal.server import PracticeServer


@pytest.fixture(scope="session", autouse=True)
def sigint_as_in_a_terminal() -> Iterator[None]:
    """A shell has what it starts in the background ignore SIGINT, and that is handed down."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that nothing trusts by itself; keys are slow to make, so one for all."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server_tls(authority: Authority) -> ssl.SSLContext:
    """For a server on this machine."""
    return authority.server_context()


@pytest.fixture(scope="session")
def client_tls(authority: Authority) -> ssl.SSLContext:
    """For a client that trusts that server, and checks its name."""
    return authority.client_context()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice, with every new event loop (as of asyncio.Runner) of either kind."""
    monkeypatch.setattr(asyncio, "new_event_loop", request.param)


@pytest.fixture
def serve() -> Iterator[Callable[[PracticeServer], RawClient]]:
    """Run a practice server in a thread until the test ends, and connect to it."""
    with ExitStack() as stack:

        def start(server: PracticeServer) -> RawClient:
            stack.enter_context(server.run_in_thread())
            return stack.enter_context(RawClient.dial(server.port))

        yield start


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test knows a server from another one, or writes to the user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
