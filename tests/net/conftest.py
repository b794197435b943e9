"""Both event loops, watched: every descriptor is closed again, and no callback fails."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from certificates import Authority
from net_fakes import ManualTime, descriptors


@pytest.fixture
def crashes() -> list[dict[str, Any]]:
    """What the event loop's exception handler is told; must be empty in the end."""
    return []


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(
    request: pytest.FixtureRequest, crashes: list[dict[str, Any]]
) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of either kind."""
    loop: asyncio.AbstractEventLoop = request.param()
    loop.set_exception_handler(lambda loop, context: crashes.append(context))
    loop.run_until_complete(asyncio.sleep(0))
    before = descriptors()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    after = descriptors()
    if after != before:
        # What an ssl.SSLContext logs its keys to is closed with it.
        gc.collect()
        after = descriptors()
    loop.close()
    assert after == before
    assert crashes == []


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has issued nothing."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(autouse=True)
def one_system_authority(stranger: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities are many, and reading them takes longer than most tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.ca_file))


@pytest.fixture
def manual_time() -> ManualTime:
    return ManualTime()
