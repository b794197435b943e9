"""How many connections are made, and how all of them end."""

from __future__ import annotations

from net_fakes import tcp_pair, turn_until
from pool_scene import REFUSED, MakeScene, Scene, bodies

from livepost.events import CloseReason, ConnectionOpened
from livepost.model import Sent
from livepost.net.dial import Dialed


def test_without_work_nothing_is_dialled(scene: Scene) -> None:
    scene.wake()
    assert scene.dialer.started == 0


def test_the_first_dial_is_made_alone(scene: Scene) -> None:
    scene.post(*bodies(100))
    scene.wake()
    assert scene.dialing == 1
    scene.connect()
    (opened,) = scene.observer.opened
    # The kernel knows the round trip of its own two ends.
    assert 0 < (opened.round_trip_seconds or 0) < 1
    assert opened == ConnectionOpened(1, "192.0.2.1:80", 0.25, round_trip_seconds=opened.round_trip_seconds)
    assert [exchange.body for exchange in scene.work.pulled] == [b"1"]


def test_never_more_dials_than_connections_alive(scene: Scene) -> None:
    scene.post(*bodies(100))
    alive_and_dialing = []
    for _ in range(8):
        scene.connect()
        alive_and_dialing.append((scene.pool.alive, scene.dialing))
    assert alive_and_dialing == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 3), (6, 2), (7, 1), (8, 0)]
    assert scene.pool.opened == 8
    scene.wake()
    assert scene.dialing == 0


def test_no_more_connections_than_the_limit(make_scene: MakeScene) -> None:
    scene = make_scene(max_conns_per_host=3)
    scene.post(*bodies(100))
    for _ in range(3):
        scene.connect()
    scene.wake()
    assert (scene.pool.alive, scene.dialer.started) == (3, 3)


def test_a_short_job_opens_few_connections(scene: Scene) -> None:
    scene.post(*bodies(3))
    first = scene.connect()
    # Two exchanges are left; one more dial is all that one connection justifies.
    assert scene.dialing == 1
    scene.answer(first)
    scene.answer(first)
    # A freed connection was faster than the dial.
    assert len(scene.work.pulled) == 3
    scene.connect()
    scene.answer(first)
    assert [exchange.connection for exchange in scene.work.pulled] == [1, 1, 1]
    assert [exchange.request_on_connection for exchange in scene.work.pulled] == [1, 2, 3]
    assert scene.dialer.started == 2


def test_a_connection_pulls_again_in_the_same_turn(scene: Scene) -> None:
    scene.post(*bodies(5))
    peer = scene.connect()
    assert [scene.answer(peer) for _ in range(5)] == bodies(5)
    assert [body for body, _ in scene.work.answers] == bodies(5)


def test_a_connection_that_ends_is_replaced_if_there_is_work(scene: Scene) -> None:
    scene.post(*bodies(3))
    peer = scene.connect()
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    turn_until(scene.loop, lambda: scene.observer.closed)
    assert scene.observer.reasons == [CloseReason.SERVER_ANNOUNCED]
    # The dial that was in progress is enough for now.
    assert scene.dialing == 1
    scene.connect()
    assert scene.work.pulled[-1].body == b"2"
    assert scene.dialing == 1


def test_a_dial_that_crashes_is_reported(scene: Scene) -> None:
    scene.post(b"1")
    crash = ZeroDivisionError()
    scene.refuse(crash)
    assert scene.crashes == [crash]
    assert scene.observer.failed_dials == []
    assert (scene.dialing, scene.unreachable) == (0, [])


def test_close_cancels_dials_and_closes_connections(scene: Scene) -> None:
    scene.post(*bodies(9))
    busy = scene.connect()
    scene.connect()
    assert scene.dialing == 2
    scene.close(CloseReason.STOPPED)
    assert scene.dialer.cancelled == 2
    assert scene.observer.reasons == [CloseReason.STOPPED] * 2
    assert scene.work.failures == [
        (b"1", Sent.ALL, "the connection was closed (stopped)"),
        (b"2", Sent.ALL, "the connection was closed (stopped)"),
    ]
    assert scene.pool.alive == 0
    assert busy.read_rest().endswith(b"\r\n\r\n1")
    scene.wake()
    assert scene.dialing == 0


def test_close_cancels_the_pause_before_the_next_dial(scene: Scene) -> None:
    scene.post(b"1")
    scene.refuse()
    assert scene.time.pending == [1.0]
    scene.close()
    assert scene.time.pending == []


def test_close_twice(scene: Scene) -> None:
    scene.post(*bodies(2))
    scene.connect()
    scene.pool.close(CloseReason.STOPPED)
    scene.close(CloseReason.FINISHED)
    assert scene.observer.reasons == [CloseReason.STOPPED]


def test_a_dial_that_succeeds_while_the_pool_closes(scene: Scene) -> None:
    scene.post(b"1")
    ours, theirs = tcp_pair()
    scene.dialer.pending[0].set_result(Dialed(ours, "192.0.2.1:80", 0.25, None, False))
    # The dial's task has ended, but its end was not noticed yet.
    scene.loop.call_soon(scene.pool.close, CloseReason.FINISHED)
    turn_until(scene.loop, lambda: ours.fileno() == -1)
    scene.close()
    assert scene.observer.opened == []
    theirs.close()


def test_a_dial_that_fails_while_the_pool_closes(scene: Scene) -> None:
    scene.post(b"1")
    scene.dialer.pending[0].set_exception(REFUSED)
    scene.pool.close(CloseReason.FINISHED)
    scene.close()
    assert scene.asked == []
    assert scene.observer.failed_dials == []
