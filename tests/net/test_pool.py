from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from net_fakes import ANSWER, ManualTime, Peer, tcp_pair, turn_until
from pool_scene import REFUSED, MakeScene, Scene, bodies

from livepost.config import Limits
from livepost.errors import DialError, PermanentDialError
from livepost.events import CloseReason, ConnectionOpened
from livepost.model import Sent
from livepost.net.connection import Connection
from livepost.net.dial import Dialed
from livepost.net.fact import Fact, Source, Subject
from livepost.net.knowledge import Knowledge
from livepost.net.liveness import Liveness


def test_without_work_nothing_is_dialled(scene: Scene) -> None:
    scene.wake()
    assert scene.dialer.started == 0


def test_the_first_dial_is_made_alone(scene: Scene) -> None:
    scene.post(*bodies(100))
    scene.wake()
    assert scene.dialing == 1
    scene.connect()
    assert scene.observer.opened == [ConnectionOpened(1, "192.0.2.1:80", 0.25)]
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


def idle_connections(scene: Scene, count: int) -> None:
    """Make so many connections, all idle in the end, the last one the most recently used."""
    scene.post(*bodies(count))
    while len(scene.peers) < count:
        scene.connect()
    for peer in scene.peers:
        scene.answer(peer)
    assert scene.dialing == 0
    assert scene.work.waiting == 0


def test_the_most_recently_used_connection_first(scene: Scene) -> None:
    idle_connections(scene, 3)
    for expected in (3, 3, 3):
        scene.post(b"again")
        assert scene.work.pulled[-1].connection == expected
        scene.answer(scene.peers[expected - 1])
    scene.post(b"a", b"b")
    assert [exchange.connection for exchange in scene.work.pulled[-2:]] == [3, 2]
    scene.answer(scene.peers[2])
    scene.answer(scene.peers[1])
    # Number 2 became idle last.
    scene.post(b"c", b"d", b"e")
    assert [exchange.connection for exchange in scene.work.pulled[-3:]] == [2, 3, 1]
    assert scene.dialer.started == 3


def test_what_is_left_over_ages_out(make_scene: MakeScene) -> None:
    patient = {Subject.IDLE_LIMIT: Fact(120.0, Source.REMEMBERED, 0.0)}
    scene = make_scene(Knowledge(Liveness(lambda: 0.0, patient)), max_conns_per_host=8)
    idle_connections(scene, 3)
    scene.time.advance(89.0)
    scene.post(b"again")
    scene.answer(scene.peers[2])
    scene.time.advance(2.0)
    assert [(event.number, event.reason) for event in scene.observer.closed] == [
        (1, CloseReason.IDLE_TIMEOUT),
        (2, CloseReason.IDLE_TIMEOUT),
    ]
    assert scene.pool.alive == 1


def test_idle_connections_are_used_before_another_is_dialled(scene: Scene) -> None:
    idle_connections(scene, 2)
    scene.post(b"a", b"b", b"c")
    assert [exchange.connection for exchange in scene.work.pulled[-2:]] == [2, 1]
    assert scene.dialing == 1


def test_a_dead_idle_connection_is_passed_over_and_no_dial_made(scene: Scene) -> None:
    idle_connections(scene, 4)
    # The FINs have arrived, but the event loop has not seen them.
    scene.peers[3].close()
    scene.peers[2].close()
    scene.work.add(b"again")
    scene.pool.wake()
    assert scene.work.pulled[-1].connection == 2
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE] * 2
    scene.turn()
    assert scene.dialing == 0


def test_all_idle_connections_dead(scene: Scene) -> None:
    idle_connections(scene, 4)
    for peer in scene.peers:
        peer.close()
    scene.post(b"a", b"b")
    assert scene.observer.reasons == [CloseReason.SERVER_IDLE] * 4
    assert scene.observer.failed_dials == []
    # As at the beginning: one alone.
    assert scene.dialing == 1
    assert scene.work.failures == []
    scene.connect()
    assert scene.work.pulled[-1].body == b"a"


@pytest.mark.parametrize(
    "limits",
    [
        {"max_idle_conns": 2},
        {"max_idle_conns_per_host": 2},
        {"max_idle_conns": 2, "max_idle_conns_per_host": 5},
    ],
)
def test_no_more_idle_connections_than_the_limits(make_scene: MakeScene, limits: dict[str, int]) -> None:
    scene = make_scene(max_conns_per_host=8, **limits)
    idle_connections(scene, 4)
    assert [(event.number, event.reason) for event in scene.observer.closed] == [
        (3, CloseReason.IDLE_LIMIT),
        (4, CloseReason.IDLE_LIMIT),
    ]
    assert scene.pool.alive == 2


def test_no_idle_connections_at_all(make_scene: MakeScene) -> None:
    scene = make_scene(max_idle_conns_per_host=0)
    idle_connections(scene, 1)
    assert scene.observer.reasons == [CloseReason.IDLE_LIMIT]
    assert scene.pool.alive == 0


def test_by_default_no_idle_connection_is_thrown_away(scene: Scene) -> None:
    idle_connections(scene, 8)
    assert scene.pool.alive == 8
    assert scene.observer.closed == []


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


def patiently(error: DialError, failures: int) -> float | None:
    """Growing pauses; gives up at the twelfth failure."""
    return None if failures >= 12 else min(5.0, 0.1 * 2.0**failures)


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


def test_an_unused_connection_that_the_server_closes_is_no_failure(scene: Scene) -> None:
    scene.post(b"1", b"2")
    first = scene.connect()
    scene.answer(first)
    scene.answer(first)
    spare = scene.connect()
    assert scene.pool.alive == 2
    spare.finish()
    turn_until(scene.loop, lambda: scene.observer.closed)
    assert scene.asked == []
    assert scene.observer.failed_dials == []


def test_no_answer_in_time_is_a_failed_dial(scene: Scene) -> None:
    scene.post(b"1")
    scene.connect()
    scene.time.advance(60.0)
    assert scene.work.failures == [(b"1", Sent.ALL, "no answer within 60 s")]
    assert scene.asked == [("connections to the server end without an answer (timeout)", 1)]


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


def test_closed_connections_are_let_go(scene: Scene) -> None:
    idle_connections(scene, 4)
    for peer in scene.peers[:3]:
        peer.close()
    turn_until(scene.loop, lambda: scene.pool.alive == 1)
    gc.collect()
    assert [thing.number for thing in gc.get_objects() if type(thing) is Connection] == [4]


CHAOTIC = ["connect", "answer"] * 3 + ["work", "time", "long time", "close", "reset"]
CHAOTIC += ["accept and close", "refuse", "refuse for good"]


def give_up_after_three(error: DialError, failures: int) -> float | None:
    return None if isinstance(error, PermanentDialError) or failures >= 3 else 1.0


class Chaos:
    """Servers and dials that do anything, and a pool that must neither stall nor exceed its limits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.scene = Scene(loop, ManualTime(), Limits(max_conns_per_host=4, max_idle_conns=3))
        self.scene.pool._redial_delay = give_up_after_three

    def act(self, action: str) -> None:
        scene = self.scene
        if action == "work":
            scene.post(b"a", b"b", b"c")
        elif action == "time":
            scene.time.advance(1.0)
        elif action == "long time":
            scene.time.advance(100.0)
        elif action in ("connect", "accept and close", "refuse", "refuse for good"):
            if scene.dialing:
                self.end_dial(action)
        elif peer := next((peer for peer in scene.peers if peer.sock.fileno() >= 0), None):
            # The others get their turn.
            scene.peers.remove(peer)
            scene.peers.append(peer)
            self.serve(peer, action)
        scene.turn()

    def end_dial(self, action: str) -> None:
        if action == "connect":
            self.scene.connect()
        elif action == "accept and close":
            self.scene.connect(Peer.close)
        elif action == "refuse":
            self.scene.refuse()
        else:
            self.scene.refuse(PermanentDialError("no"))

    def serve(self, peer: Peer, action: str) -> None:
        if action == "answer":
            # The pool may have closed this connection.
            with contextlib.suppress(ConnectionError):
                if not peer.has_nothing():
                    peer.send(ANSWER)
        elif action == "close":
            peer.close()
        else:
            peer.reset()

    def check(self) -> None:
        scene = self.scene
        assert scene.pool.alive + scene.dialing <= 4
        assert len(scene.observer.opened) - len(scene.observer.closed) == scene.pool.alive
        settled = len(scene.work.answers) + len(scene.work.failures)
        in_flight = len(scene.work.pulled) - settled
        assert in_flight <= scene.pool.alive
        paused = scene.pause is not None and scene.pause.is_pending
        if scene.work.waiting and not scene.unreachable:
            assert scene.dialing or paused or in_flight


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(CHAOTIC),
        min_size=5,
        max_size=40,
    )
)
def test_work_never_waits_for_nothing(actions: list[str]) -> None:
    loop = asyncio.new_event_loop()
    chaos = Chaos(loop)
    try:
        for action in actions:
            chaos.act(action)
            chaos.check()
    finally:
        chaos.scene.close()
        for peer in chaos.scene.peers:
            peer.close()
        loop.close()
