"""When the pool dials again after dials have failed, and when it gives up."""

from __future__ import annotations

import itertools

import pytest
from net_fakes import Peer, turn_until
from pool_scene import REFUSED, MakeScene, Scene, bodies, patiently

from livepost.errors import DialError, PermanentDialError


def test_delays_between_failed_dials(scene: Scene) -> None:
    scene.delays = [0.25, 0.5, 4.0]
    scene.post(*bodies(9))
    for delay in (0.25, 0.5, 4.0):
        scene.refuse()
        assert scene.dialing == 0
        assert scene.pauses[-1] == delay
        scene.time.advance(delay * 0.9)
        # Work that arrives in between does not shorten the pause.
        scene.wake()
        assert scene.dialing == 0
        scene.time.advance(delay * 0.1)
        scene.turn()
        assert scene.dialing == 1
    scene.connect()
    assert scene.asked == [("refused", 1), ("refused", 2), ("refused", 3)]
    assert scene.observer.failed_dials == ["refused"] * 3
    assert scene.unreachable == []


def test_giving_up_at_once_on_what_will_not_change(scene: Scene) -> None:
    scene.delays = [None]
    error = PermanentDialError("no such host")
    scene.post(*bodies(9))
    scene.refuse(error)
    assert scene.unreachable == [error]
    assert scene.dialing == 0
    assert scene.time.pending == []


def test_giving_up_after_the_last_try(scene: Scene) -> None:
    scene.delays = [1.0, None]
    scene.post(*bodies(9))
    scene.refuse(DialError("first"))
    scene.time.advance(1.0)
    scene.turn()
    assert scene.unreachable == []
    scene.refuse(DialError("second"))
    assert [str(error) for error in scene.unreachable] == ["second"]


def test_nobody_gives_up_while_a_connection_is_alive(scene: Scene) -> None:
    scene.delays = [None, None, None]
    scene.post(*bodies(9))
    peer = scene.connect()
    scene.refuse(PermanentDialError("certificate expired"))
    assert scene.unreachable == []
    # Arriving work does not make it dial again and again.
    for _ in range(5):
        scene.wake()
    assert scene.dialer.started == 2
    assert scene.answer(peer) == b"1"
    assert scene.time.pending[0] == 5.0
    scene.time.advance(5.0)
    scene.turn()
    scene.refuse(PermanentDialError("certificate expired"))
    assert scene.unreachable == []
    peer.finish()
    turn_until(scene.loop, lambda: scene.observer.closed)
    assert scene.dialer.started == 3
    # Now there is nothing else left to try.
    scene.time.advance(5.0)
    scene.turn()
    assert scene.dialing == 1
    scene.refuse(PermanentDialError("certificate expired"))
    assert [str(error) for error in scene.unreachable] == ["certificate expired"]


def test_nobody_gives_up_while_another_dial_may_succeed(scene: Scene) -> None:
    scene.post(*bodies(9))
    scene.connect()
    scene.connect()
    assert scene.dialing == 2
    scene.delays = [None]
    scene.refuse(PermanentDialError("no"))
    scene.connect()
    assert scene.unreachable == []
    assert scene.pool.alive == 3
    assert scene.pauses == [5.0]
    scene.answer(scene.peers[2])
    # One made after the failure works, so others may be tried again.
    scene.time.advance(5.0)
    scene.turn()
    assert scene.dialing == 3


def test_the_last_of_several_dials_decides(scene: Scene) -> None:
    scene.post(*bodies(100))
    for peer in (scene.connect(), scene.connect()):
        scene.answer(peer)
        peer.close()
    turn_until(scene.loop, lambda: not scene.pool.alive)
    assert scene.dialing == 2
    scene.delays = [None, None]
    scene.refuse(PermanentDialError("no"))
    scene.refuse()
    assert scene.unreachable == []
    scene.time.advance(5.0)
    scene.turn()
    assert scene.dialing == 1
    scene.refuse()
    assert scene.unreachable == [REFUSED]


def test_connections_that_end_together_are_redialled_with_patience(scene: Scene) -> None:
    """A server that starts again while many dials are in progress."""
    scene.delays = [1.0, None]
    scene.post(*bodies(100))
    for _ in range(4):
        scene.connect()
    assert scene.dialing == 4
    for peer in scene.peers:
        scene.answer(peer)
        peer.reset()
    turn_until(scene.loop, lambda: len(scene.observer.closed) == 4)
    for _ in range(4):
        scene.refuse()
    # Four failures of the same moment are one: it waits, and then tries with one alone.
    assert scene.asked == [("refused", 1)]
    assert scene.unreachable == []
    assert scene.dialing == 0
    scene.time.advance(1.0)
    scene.turn()
    assert scene.dialing == 1
    scene.connect()
    assert scene.pool.alive == 1


@pytest.mark.parametrize("closes_soon", [True, False])
def test_failures_are_in_a_row_until_a_connection_was_of_use(scene: Scene, closes_soon: bool) -> None:
    scene.post(*bodies(9))
    scene.refuse()
    scene.time.advance(1.0)
    scene.turn()
    peer = scene.connect()
    scene.answer(peer)
    if closes_soon:
        peer.finish()
        turn_until(scene.loop, lambda: scene.observer.closed)
    scene.time.advance(0.1)
    scene.turn()
    scene.refuse()
    assert [failures for _, failures in scene.asked] == [1, 1]


def test_after_a_failure_one_connection_shows_first_how_it_does(scene: Scene) -> None:
    """All would lose what they carry if it is the server that closes them."""
    scene.post(*bodies(100))
    scene.refuse()
    scene.time.advance(1.0)
    scene.turn()
    peer = scene.connect()
    scene.wake()
    assert (scene.pool.alive, scene.dialing) == (1, 0)
    assert scene.pauses == [1.0, 0.1]
    peer.reset()
    turn_until(scene.loop, lambda: not scene.pool.alive)
    # Only the pause for this failure is left.
    assert [failures for _, failures in scene.asked] == [1, 2]
    assert scene.pauses == [1.0, 0.1, 1.0]
    scene.time.advance(0.9)
    scene.turn()
    assert scene.dialing == 0
    scene.time.advance(0.1)
    scene.turn()
    assert scene.dialing == 1


def test_a_slow_first_answer_after_a_failure_does_not_hold_up_the_others_for_long(scene: Scene) -> None:
    scene.post(*bodies(100))
    scene.refuse()
    scene.time.advance(1.0)
    scene.turn()
    scene.connect()
    for alive in (1, 2, 3):
        assert (scene.pool.alive, scene.dialing) == (alive, 0)
        scene.time.advance(0.1)
        scene.turn()
        assert scene.dialing == 1
        scene.connect()
    scene.answer(scene.peers[0])
    scene.time.advance(0.1)
    scene.turn()
    assert (scene.pool.alive, scene.dialing) == (4, 4)


def seconds_of_dials(scene: Scene, seconds: int, live: Peer) -> list[float]:
    """Refuse every dial, while one connection goes on answering; returns when, in seconds from now."""
    began = scene.time.now
    found = []
    for _ in range(seconds * 10):
        scene.work.add(b"more")
        scene.answer(live)
        while scene.dialing:
            found.append(round(scene.time.now - began, 1))
            scene.refuse()
        scene.time.advance(0.1)
        scene.turn()
    return found


def test_a_server_that_refuses_more_connections_is_asked_ever_more_rarely(make_scene: MakeScene) -> None:
    """It serves those it has; that they work is no reason to dial in a tight loop."""
    scene = make_scene(max_conns_per_host=64)
    scene.pool._redial_delay = patiently
    scene.post(*bodies(100))
    live = scene.connect()
    dials = seconds_of_dials(scene, 60, live)
    assert len(dials) == 16
    assert dials == sorted(set(dials))
    pauses = [after - before for before, after in itertools.pairwise(dials)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2] + [5.0] * 10, abs=0.21)
    assert scene.unreachable == []
    assert scene.pool.alive == 1


def test_a_server_that_takes_more_connections_at_last_gets_them(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=64)
    scene.pool._redial_delay = patiently
    scene.post(*bodies(1000))
    live = scene.connect()
    seconds_of_dials(scene, 60, live)
    scene.time.advance(5.0)
    scene.turn()
    assert scene.dialing == 1
    late = scene.connect()
    # The old one's answers do not count, and the new one has given none.
    scene.answer(live)
    assert scene.dialing == 0
    scene.time.advance(0.1)
    scene.turn()
    assert scene.dialing == 1
    scene.answer(late)
    scene.wake()
    assert (scene.pool.alive, scene.dialing) == (2, 2)


def test_failures_beside_a_live_connection_do_not_count_when_it_is_gone(scene: Scene) -> None:
    """A server that was refusing more connections, and then starts again, is waited for."""
    scene.pool._redial_delay = patiently
    scene.post(*bodies(9))
    live = scene.connect()
    seconds_of_dials(scene, 60, live)
    live.finish()
    turn_until(scene.loop, lambda: not scene.pool.alive)
    for _ in range(11):
        scene.time.advance(5.0)
        scene.turn()
        scene.refuse()
    assert scene.unreachable == []
    scene.time.advance(5.0)
    scene.turn()
    scene.refuse()
    assert scene.unreachable == [REFUSED]
