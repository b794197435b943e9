"""Connections that end before any answer are failed dials, so that few records are spent on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from net_fakes import Peer, turn_until
from pool_scene import MakeScene, Scene, bodies, patiently

from livepost.events import CloseReason
from livepost.model import Sent


def test_a_server_that_talks_garbage_gets_few_records(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.pool._redial_delay = patiently
    scene.post(*bodies(1000))
    for _ in range(100):
        while scene.dialing:
            scene.connect()
        for peer in scene.peers:
            with contextlib.suppress(OSError):
                talk_garbage(peer)
        turn_until(scene.loop, lambda: not scene.pool.alive)
        for peer in scene.peers:
            peer.close()
        scene.peers.clear()
        scene.time.advance(5.0)
        scene.turn()
        if scene.unreachable:
            break
    assert [str(error) for error in scene.unreachable] == [
        "connections to the server end without an answer (protocol error)"
    ]
    assert scene.unreachable[0].hint == "is it an HTTP server, and does it want TLS or a client certificate?"
    # The worst case: all 64 were made before the first said anything.  Then each try cost one.
    assert len(scene.work.failures) == 64 + 11


def talk_garbage(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


def begin_an_answer(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 20")
    peer.finish()


@pytest.mark.parametrize(
    ("how", "reason", "words"),
    [
        (Peer.finish, CloseReason.SERVER_CLOSED, "server closed"),
        (Peer.reset, CloseReason.RESET, "reset"),
        (talk_garbage, CloseReason.PROTOCOL_ERROR, "protocol error"),
        (begin_an_answer, CloseReason.SERVER_CLOSED, "server closed"),
    ],
)
def test_a_server_that_closes_without_an_answer_is_a_failed_dial(
    make_scene: MakeScene, how: Callable[[Peer], None], reason: CloseReason, words: str
) -> None:
    """Otherwise every record would be spent on it, as fast as connections can be made."""
    scene = make_scene(max_conns_per_host=1)
    scene.delays = [1.0, 2.0, None]
    scene.post(*bodies(100))
    for pauses in ([1.0], [1.0, 0.1, 2.0], [1.0, 0.1, 2.0, 0.1]):
        peer = scene.connect()
        peer.read_request()
        how(peer)
        turn_until(scene.loop, lambda: not scene.pool.alive)
        assert scene.dialing == 0
        assert scene.pauses == pauses
        scene.time.advance(2.0)
        scene.turn()
    message = f"connections to the server end without an answer ({words})"
    assert scene.asked == [(message, 1), (message, 2), (message, 3)]
    assert [str(error) for error in scene.unreachable] == [message]
    assert scene.observer.reasons == [reason] * 3
    assert [(body, sent) for body, sent, _ in scene.work.failures] == [
        (b"1", Sent.ALL),
        (b"2", Sent.ALL),
        (b"3", Sent.ALL),
    ]


def test_a_server_that_closes_before_a_request_is_a_failed_dial(scene: Scene) -> None:
    scene.delays = [1.0, None]
    scene.post(b"1")
    scene.connect(Peer.close)
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE]
    assert scene.work.pulled == []
    assert scene.asked == [("connections to the server end without an answer (server idle)", 1)]
    assert scene.dialing == 0
    scene.time.advance(1.0)
    scene.turn()
    scene.connect(Peer.reset)
    assert [str(error) for error in scene.unreachable] == [
        "connections to the server end without an answer (reset)"
    ]
    assert scene.unreachable[0].hint == "is it an HTTP server, and does it want TLS or a client certificate?"
    assert scene.work.failures == []
    assert scene.work.waiting == 1


def test_no_answer_in_time_is_a_failed_dial(scene: Scene) -> None:
    scene.post(b"1")
    scene.connect()
    scene.time.advance(60.0)
    assert scene.work.failures == [(b"1", Sent.ALL, "no answer within 60 s")]
    assert scene.asked == [("connections to the server end without an answer (timeout)", 1)]
