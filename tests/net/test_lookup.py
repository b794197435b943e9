from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from livepost.net.lookup import look_up


def test_the_addresses_are_those_of_the_system() -> None:
    found = asyncio.run(look_up("127.0.0.1", 80))
    assert found == [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_needs_no_thread(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(threading, "Thread", None)
    (found,) = asyncio.run(look_up(address, 80))
    assert found[4][:2] == (address, 80)


def test_what_the_resolver_says_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*what: Any, **how: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(socket.gaierror) as caught:
        asyncio.run(look_up("nowhere.test", 80))
    assert caught.value.errno == socket.EAI_NONAME


def test_a_resolver_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang(*what: Any, **how: Any) -> list[Any]:
        threads.append(threading.current_thread())
        asked.set()
        answer.wait()
        return []

    async def give_up() -> None:
        task = asyncio.create_task(look_up("slow.test", 80))
        await asyncio.to_thread(asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    # Returns although the look-up is still under way, and the late answer troubles nobody.
    asyncio.run(give_up())
    (thread,) = threads
    assert thread.is_alive()
    assert thread.daemon
    answer.set()
    thread.join()
