from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Iterator

import pytest
from net_fakes import FakeWork, ManualTime, tcp_pair, turn, turn_until

from livepost.model import Sent
from livepost.net.poller import LEAVING, READABLE, WRITABLE, Poller
from livepost.wire.machine import Answered, Event
from livepost.wire.message import Exchange, Response

OK = Response(200, (), b"")


class FakeConnection:
    """Reads what comes; each byte is the answer to the exchange it carries."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.ours, self.theirs = tcp_pair()
        self.descriptor = self.ours.fileno()
        self.name = name
        self.room = 0
        self.runs_dry = False
        self.masks: list[int] = []
        self.carried: list[bytes] = []
        self.idled = 0
        self.on_take_in: Callable[[], None] = lambda: None
        self.on_carry: Callable[[], None] = lambda: None
        self._open: list[Exchange] = []
        self._log = log

    def take_in(self, mask: int, settled: list[Event], now: float) -> bool:
        self.masks.append(mask)
        self._log.append(f"{self.name} takes in")
        self.on_take_in()
        if mask & READABLE:
            for _ in self.ours.recv(100):
                settled.append(Answered(self._open.pop(0), OK))
                self.room += 1
        return self.room > 0 and not mask & LEAVING

    def carry(self, exchanges: list[Exchange], now: float) -> None:
        self.on_carry()
        count = min(self.room, len(exchanges))
        if not count:
            self.idled += 1
        for _ in range(count):
            self._open.append(exchanges.pop())
            self.carried.append(self._open[-1].body)
            self._log.append(f"{self.name} carries {self._open[-1].body.decode()}")
            self.room -= 1

    def answers(self, count: int = 1) -> None:
        """The server's answers are there, for the kernel."""
        self.theirs.send(b"." * count)
        assert select.select([self.ours], [], [], 5.0)[0]

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class LoggingWork(FakeWork):
    """Notes when it is asked."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log
        self.on_answered: Callable[[], None] = lambda: None

    def pull(self, limit: int, now: float) -> list[Exchange]:
        self._log.append(f"pull {limit}")
        return super().pull(limit, now)

    def answered(self, exchange: Exchange, response: Response, now: float) -> None:
        self._log.append(f"answered {exchange.body.decode()}")
        super().answered(exchange, response, now)
        self.on_answered()


class Scene:
    """A poller and connections to serve."""

    def __init__(self, loop: asyncio.AbstractEventLoop, time: ManualTime) -> None:
        self.loop = loop
        self.log: list[str] = []
        self.work = LoggingWork(self.log)
        self.poller = Poller(self.work, time, loop)
        self.connections: list[FakeConnection] = []

    def connect(self, name: str, *, room: int = 1) -> FakeConnection:
        connection = FakeConnection(name, self.log)
        connection.room = room
        self.poller.watch(connection)
        self.connections.append(connection)
        return connection

    def until(self, happened: Callable[[], object]) -> None:
        turn_until(self.loop, happened)

    def close(self) -> None:
        for connection in self.connections:
            self.poller.forget(connection)
            connection.close()
        self.poller.close()


@pytest.fixture
def scene(loop: asyncio.AbstractEventLoop, manual_time: ManualTime) -> Iterator[Scene]:
    scene = Scene(loop, manual_time)
    yield scene
    scene.close()


def test_a_round_reads_all_then_settles_then_hands_out(scene: Scene) -> None:
    one, two = scene.connect("one"), scene.connect("two")
    scene.work.add(b"a", b"b", b"c", b"d")
    scene.poller.offer([one, two])
    one.answers()
    two.answers()
    scene.log.clear()
    scene.until(lambda: len(scene.work.pulled) == 4)
    assert sorted(scene.log[:2]) == ["one takes in", "two takes in"]
    assert scene.log[2:4] == ["answered a", "answered b"] or scene.log[2:4] == ["answered b", "answered a"]
    assert scene.log[4] == "pull 2"
    assert sorted(one.carried + two.carried) == [b"a", b"b", b"c", b"d"]
    assert {one.carried[0], two.carried[0]} == {b"a", b"b"}


def test_a_connection_gets_as_much_as_it_has_room_for(scene: Scene) -> None:
    small, large = scene.connect("small"), scene.connect("large", room=5)
    scene.work.add(*(b"%d" % n for n in range(8)))
    scene.poller.offer([small, large])
    assert scene.log[0] == "pull 6"
    assert small.carried == [b"0"]
    assert large.carried == [b"1", b"2", b"3", b"4", b"5"]
    large.answers(2)
    scene.until(lambda: len(large.carried) == 7)
    assert large.carried[5:] == [b"6", b"7"]


def test_without_work_a_connection_is_told_so(scene: Scene) -> None:
    one = scene.connect("one")
    scene.poller.offer([one])
    assert (one.carried, one.idled) == ([], 1)


def test_the_kernel_is_asked_before_work_is_taken(scene: Scene) -> None:
    """What has come for a connection is read before the connection is given anything."""
    one, two = scene.connect("one"), scene.connect("two")
    scene.work.add(b"a")
    one.on_take_in = lambda: setattr(one, "room", 0)
    one.theirs.close()
    assert select.select([one.ours], [], [], 5.0)[0]
    scene.poller.offer([one, two])
    assert (one.carried, two.carried) == ([], [b"a"])


def test_what_comes_between_reading_and_handing_out_is_seen(scene: Scene) -> None:
    """A FIN right behind an answer: the kernel is asked a second time, and nothing is handed out."""
    one = scene.connect("one")
    scene.work.add(b"a", b"b")
    scene.poller.offer([one])
    one.on_take_in = lambda: one.theirs.close() if len(one.masks) == 1 else None
    one.answers()
    scene.until(lambda: len(one.masks) >= 2)
    assert one.masks[0] & LEAVING == 0
    assert one.masks[1] & LEAVING
    assert one.carried == [b"a"]
    assert scene.work.waiting == 1


@pytest.mark.parametrize("runs_dry", [True, False])
def test_one_that_runs_dry_is_given_work_although_there_is_more_to_read(scene: Scene, runs_dry: bool) -> None:
    one = scene.connect("one", room=3)
    scene.work.add(*(b"%d" % n for n in range(6)))
    scene.poller.offer([one])
    one.runs_dry = runs_dry
    scene.work.on_answered = lambda: one.answers(2) if len(scene.work.answers) == 1 else None
    one.answers()
    scene.log.clear()
    scene.until(lambda: len(one.carried) == 6)
    # With two answers to read, the place of the first is taken at once, or together with theirs.
    pulls = [line for line in scene.log if line.startswith("pull")]
    assert pulls == (["pull 1", "pull 2"] if runs_dry else ["pull 3"])


def test_one_that_runs_dry_and_is_leaving_is_given_nothing(scene: Scene) -> None:
    one = scene.connect("one")
    scene.work.add(b"a", b"b")
    scene.poller.offer([one])
    one.runs_dry = True
    one.on_take_in = lambda: one.theirs.close() if len(one.masks) == 1 else None
    one.answers()
    scene.until(lambda: len(one.masks) >= 2)
    assert one.carried == [b"a"]


def test_a_connection_that_is_leaving_is_not_offered(scene: Scene) -> None:
    one = scene.connect("one")
    scene.work.add(b"a", b"b")
    scene.poller.offer([one])
    one.answers()
    one.theirs.shutdown(socket.SHUT_WR)
    poll = select.poll()
    poll.register(one.ours, select.POLLRDHUP)
    assert poll.poll(5000)
    scene.until(lambda: one.masks)
    assert one.masks[0] & LEAVING
    assert len(scene.work.answers) == 1
    assert one.carried == [b"a"]


def test_a_connection_that_another_ends_is_not_served_in_the_same_round(scene: Scene) -> None:
    one, two = scene.connect("one"), scene.connect("two")
    scene.work.add(b"a", b"b")
    scene.poller.offer([one, two])

    def end_the_other(other: FakeConnection) -> None:
        if other in scene.connections and len(scene.connections) == 2:
            scene.poller.forget(other)
            scene.connections.remove(other)

    one.on_take_in = lambda: end_the_other(two)
    two.on_take_in = lambda: end_the_other(one)
    one.answers()
    two.answers()
    scene.until(lambda: one.masks or two.masks)
    turn(scene.loop)
    assert sorted([len(one.masks), len(two.masks)]) == [0, 1]
    one.close()
    two.close()
    scene.connections.clear()


def test_exchanges_that_nobody_carries_were_not_sent(scene: Scene) -> None:
    """A connection that was counted on ends while another is given its exchange."""
    one, two = scene.connect("one"), scene.connect("two")
    scene.work.add(b"a", b"b")
    one.on_carry = lambda: setattr(two, "room", 0)
    scene.poller.offer([one, two])
    assert one.carried == [b"a"]
    assert scene.work.failures == [(b"b", Sent.NOTHING, "the connection was closed")]


class SmallEpoll:
    """Tells of two at a time, unless asked for more: as the real one does of 1 023."""

    def __init__(self) -> None:
        self._epoll = real_epoll()

    def poll(self, seconds: float, most: int = 2) -> list[tuple[int, int]]:
        return self._epoll.poll(seconds, most)

    def __getattr__(self, name: str) -> object:
        return getattr(self._epoll, name)


real_epoll = select.epoll


def test_a_round_serves_more_connections_than_an_epoll_tells_of_by_itself(
    monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop, manual_time: ManualTime
) -> None:
    monkeypatch.setattr(select, "epoll", SmallEpoll)
    scene = Scene(loop, manual_time)
    connections = [scene.connect(str(number)) for number in range(5)]
    scene.work.add(*(b"a" for _ in connections))
    scene.poller.offer(connections)
    for connection in connections:
        connection.answers()
    scene.log.clear()
    scene.until(lambda: len(scene.work.answers) == 5)
    assert sorted(scene.log[:5]) == sorted(f"{connection.name} takes in" for connection in connections)
    scene.close()


def test_writable_is_reported_only_while_it_is_wanted(scene: Scene) -> None:
    one = scene.connect("one", room=0)
    turn(scene.loop)
    assert one.masks == []
    scene.poller.want_writable(one, True)
    one.on_take_in = lambda: scene.poller.want_writable(one, False)
    scene.until(lambda: one.masks)
    turn(scene.loop)
    assert one.masks == [WRITABLE]


def test_an_endless_stream_of_news_leaves_room_for_others(scene: Scene) -> None:
    one = scene.connect("one", room=0)
    scene.poller.want_writable(one, True)
    called: list[int] = []
    scene.loop.call_soon(lambda: scene.loop.call_soon(lambda: called.append(len(one.masks))))
    scene.until(lambda: called)
    assert 0 < called[0] <= 48


def test_no_more_are_pulled_than_may_be_under_way(scene: Scene) -> None:
    one, two = scene.connect("one", room=5), scene.connect("two", room=5)
    scene.work.add(*(b"%d" % n for n in range(12)))
    freed: list[int] = []
    scene.poller.limit(7, lambda: freed.append(scene.poller.free))
    scene.poller.offer([one, two])
    assert scene.log[0] == "pull 7"
    assert (len(one.carried), len(two.carried), scene.poller.free) == (5, 2, 0)
    scene.log.clear()
    one.answers(2)
    scene.until(lambda: len(one.carried) == 7)
    turn(scene.loop)
    # Their places were taken at once.
    assert ([line for line in scene.log if line.startswith("pull")], freed) == (["pull 2"], [])
    scene.poller.offer([two])
    assert (scene.log.count("pull 0"), two.idled, len(scene.work.pulled)) == (0, 1, 9)


def test_places_that_nobody_takes_are_told_of_once(scene: Scene) -> None:
    one, two = scene.connect("one", room=2), scene.connect("two", room=2)
    scene.work.add(*(b"%d" % n for n in range(4)))
    freed: list[int] = []
    scene.poller.limit(3, lambda: freed.append(scene.poller.free))
    scene.poller.offer([one, two])
    scene.poller.settle([Answered(scene.work.pulled[0], OK)], 0.0)
    scene.poller.settle([Answered(scene.work.pulled[1], OK)], 0.0)
    assert freed == []
    turn(scene.loop)
    assert freed == [2]
    # Nobody is short now.
    scene.poller.settle([Answered(scene.work.pulled[2], OK)], 0.0)
    turn(scene.loop)
    assert (freed, scene.poller.free) == ([2], 3)


def test_what_nobody_carries_takes_no_place(scene: Scene) -> None:
    one, two = scene.connect("one"), scene.connect("two")
    scene.work.add(b"a", b"b")
    scene.poller.limit(2, lambda: None)
    one.on_carry = lambda: setattr(two, "room", 0)
    scene.poller.offer([one, two])
    assert (len(scene.work.failures), scene.poller.free) == (1, 1)


def test_what_was_pulled_is_settled_although_carrying_fails(scene: Scene) -> None:
    one, two = scene.connect("one"), scene.connect("two")
    scene.work.add(b"a", b"b")
    scene.poller.limit(2, lambda: None)

    def fail() -> None:
        raise RuntimeError("a mistake")

    one.on_carry = fail
    with pytest.raises(RuntimeError, match="a mistake"):
        scene.poller.offer([one, two])
    assert [body for body, sent, _ in scene.work.failures if sent is Sent.NOTHING] == [b"b", b"a"]
    assert scene.poller.free == 2
