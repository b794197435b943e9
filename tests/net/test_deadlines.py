from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from net_fakes import ManualTime

from livepost.net.deadlines import NEVER, Alarm, Deadlines


class Item:
    """Writes down when it expires; then does what it is told to."""

    def __init__(self, name: str, log: list[tuple[str, float]]) -> None:
        self.name = name
        self.deadline = NEVER
        self.queued_at = NEVER
        self.then: Callable[[float], None] = lambda now: None
        self._log = log

    def expire(self, now: float) -> None:
        self._log.append((self.name, now))
        self.then(now)


class Queue:
    """A queue of deadlines, with times counted from its beginning."""

    def __init__(self, manual_time: ManualTime) -> None:
        self.time = manual_time
        self.start = manual_time.now
        self.deadlines = Deadlines(manual_time, manual_time.call_later)
        self.log: list[tuple[str, float]] = []

    def item(self, name: str, when: float = NEVER) -> Item:
        item = Item(name, self.log)
        self.set(item, when)
        return item

    def set(self, item: Item, when: float) -> None:
        self.deadlines.set(item, self.start + when)

    @property
    def expired(self) -> list[tuple[str, float]]:
        return [(name, when - self.start) for name, when in self.log]


@pytest.fixture
def queue(manual_time: ManualTime) -> Queue:
    return Queue(manual_time)


def test_items_expire_in_order_of_time_with_one_timer(queue: Queue) -> None:
    for name, when in (("b", 2.0), ("c", 3.0), ("a", 1.0), ("b too", 2.0)):
        queue.item(name, when)
    assert queue.time.pending == [1.0]
    queue.time.advance(2.0)
    assert queue.expired == [("a", 1.0), ("b", 2.0), ("b too", 2.0)]
    assert queue.time.pending == [1.0]
    queue.time.advance(1.0)
    assert queue.expired[3:] == [("c", 3.0)]
    assert queue.time.pending == []


def test_an_expired_item_has_no_deadline(queue: Queue) -> None:
    item = queue.item("a", 1.0)
    queue.time.advance(1.0)
    assert (item.deadline, item.queued_at) == (NEVER, NEVER)
    queue.time.advance(1000.0)
    assert queue.expired == [("a", 1.0)]


def test_moving_a_deadline_later_costs_neither_an_entry_nor_a_timer(queue: Queue) -> None:
    item = queue.item("a", 1.0)
    for when in range(2, 1002):
        queue.set(item, float(when))
    assert item.queued_at == queue.start + 1.0
    assert queue.time.timers_set == 1
    queue.time.advance(1000.0)
    assert queue.expired == []
    # Looked at once when the old time came, then at the new one.
    assert queue.time.timers_set == 2
    queue.time.advance(1.0)
    assert queue.expired == [("a", 1001.0)]


def test_moving_a_deadline_earlier(queue: Queue) -> None:
    item = queue.item("a", 5.0)
    queue.set(item, 2.0)
    assert queue.time.pending == [2.0]
    queue.time.advance(100.0)
    assert queue.expired == [("a", 2.0)]


def test_an_entry_that_was_left_behind_does_not_expire_the_same_item_later(queue: Queue) -> None:
    item = queue.item("a", 5.0)
    queue.set(item, 2.0)
    item.then = lambda now: queue.set(item, 5.0 if now < queue.start + 5.0 else NEVER)
    queue.time.advance(100.0)
    assert queue.expired == [("a", 2.0), ("a", 5.0)]


def test_no_deadline_any_more(queue: Queue) -> None:
    item = queue.item("a", 1.0)
    queue.set(item, NEVER)
    queue.time.advance(100.0)
    assert queue.expired == []
    queue.set(item, 101.0)
    queue.time.advance(1.0)
    assert queue.expired == [("a", 101.0)]


def test_a_deadline_in_the_past_is_due_at_once(queue: Queue) -> None:
    queue.item("a", -3.0)
    assert queue.time.pending == [0.0]
    queue.time.advance(0.0)
    assert queue.expired == [("a", 0.0)]


def test_expiring_may_set_a_new_deadline(queue: Queue) -> None:
    item = queue.item("a", 1.0)
    item.then = lambda now: queue.deadlines.set(item, now + 10.0)
    queue.time.advance(25.0)
    assert queue.expired == [("a", 1.0), ("a", 11.0), ("a", 21.0)]
    assert queue.time.pending == [6.0]


def test_expiring_may_discard_others(queue: Queue) -> None:
    first, second = queue.item("a", 1.0), queue.item("b", 1.0)
    first.then = lambda now: queue.deadlines.discard(second)
    queue.time.advance(2.0)
    assert queue.expired == [("a", 1.0)]


def test_a_failure_while_expiring_does_not_stop_the_others(queue: Queue) -> None:
    def fail(now: float) -> None:
        raise ZeroDivisionError

    queue.item("a", 1.0).then = fail
    queue.item("b", 2.0)
    with pytest.raises(ZeroDivisionError):
        queue.time.advance(1.0)
    queue.time.advance(1.0)
    assert queue.expired == [("a", 1.0), ("b", 2.0)]


def test_a_discarded_item_never_expires_and_is_not_kept_alive(queue: Queue) -> None:
    item = queue.item("a", 9.0)
    queue.set(item, 5.0)
    queue.deadlines.discard(item)
    assert (item.deadline, item.queued_at) == (NEVER, NEVER)
    gone = weakref.ref(item)
    del item
    gc.collect()
    assert gone() is None
    queue.time.advance(100.0)
    assert queue.expired == []


def test_discarding_what_has_no_deadline(queue: Queue) -> None:
    queue.deadlines.discard(queue.item("a"))
    assert queue.time.timers_set == 0


@pytest.mark.parametrize("how", ["discard", "move earlier"])
def test_entries_that_mean_nothing_do_not_pile_up(queue: Queue, how: str) -> None:
    kept = queue.item("kept", 5000.0)
    item = queue.item("moved")
    for _ in range(5000):
        queue.set(item, 4000.0)
        if how == "discard":
            queue.deadlines.discard(item)
        else:
            # As a connection does that is idle for long, and then busy for a short time.
            queue.deadlines.set(item, queue.time.now + 0.1)
            queue.time.advance(0.1)
    heap = queue.deadlines._heap
    assert len(heap) <= 70
    queue.log.clear()
    queue.time.advance(5000.0)
    assert queue.log == [("kept", queue.start + 5000.0)]
    assert kept.deadline == NEVER


def test_close_forgets_everything(queue: Queue) -> None:
    item = queue.item("a", 1.0)
    gone = weakref.ref(item)
    queue.deadlines.close()
    assert queue.time.pending == []
    queue.time.advance(2.0)
    assert queue.expired == []
    del item
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(("stop", "grace"), [(3.0, 3.0), (0.5, 0.5), (600.0, 5.0)])
def test_what_is_due_when_the_process_did_not_run_is_put_off(queue: Queue, stop: float, grace: float) -> None:
    for name in ("a", "b"):
        queue.item(name, 1.0)
    moved = queue.item("moved", 0.9)
    queue.set(moved, 1.0 + stop + 100.0)
    queue.time.now += 1.0 + stop
    queue.time.advance(0.0)
    assert queue.expired == []
    assert queue.time.pending == pytest.approx([grace], abs=0.11)
    queue.time.advance(6.0)
    assert [name for name, _ in queue.expired] == ["a", "b"]
    assert [when for _, when in queue.expired] == pytest.approx([1.0 + stop + grace] * 2, abs=0.11)
    queue.time.advance(100.0)
    assert queue.expired[2:] == [("moved", 1.0 + stop + 100.0)]


def test_an_alarm_that_is_late_rings_at_once(queue: Queue) -> None:
    """A rate, a pause or a retry has been waited for long enough."""
    queue.item("a", 1.0)
    rung: list[float] = []
    alarm = Alarm(lambda now: rung.append(now - queue.start))
    queue.deadlines.set(alarm, queue.start + 0.5)
    queue.time.now += 4.0
    queue.time.advance(0.0)
    assert rung == [4.0]
    assert queue.expired == []
    queue.time.advance(6.0)
    assert [name for name, _ in queue.expired] == ["a"]
    assert len(rung) == 1


def test_it_is_not_put_off_twice_in_a_row(queue: Queue) -> None:
    queue.item("a", 1.0)
    for _ in range(2):
        queue.time.now += 10.0
        queue.time.advance(0.0)
    assert queue.expired == [("a", 20.0)]


def test_a_timer_a_little_late_is_no_reason_to_wait(queue: Queue) -> None:
    queue.item("a", 1.0)
    queue.time.now += 1.2
    queue.time.advance(0.0)
    assert [when for _, when in queue.expired] == pytest.approx([1.2])


def test_closing_while_expiring(queue: Queue) -> None:
    queue.item("a", 1.0).then = lambda now: queue.deadlines.close()
    queue.item("b", 1.0)
    queue.time.advance(100.0)
    assert queue.expired == [("a", 1.0)]
    assert queue.time.pending == []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 4), st.integers(0, 30)),
        st.tuples(st.just("discard"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("advance"), st.just(0), st.integers(1, 10)),
    ),
    max_size=40,
)


@given(steps)
def test_as_if_each_item_had_a_timer_of_its_own(actions: list[tuple[str, int, int]]) -> None:
    queue = Queue(ManualTime())
    items = [queue.item(str(n)) for n in range(5)]
    expected: list[tuple[str, float]] = []
    deadlines: dict[str, float] = {}
    now = 0.0
    for action, n, amount in actions:
        if action == "set":
            # Never two at the same time: their order would be either.
            deadlines[str(n)] = now + amount + n / 10
            queue.set(items[n], deadlines[str(n)])
        elif action == "discard":
            deadlines.pop(str(n), None)
            queue.deadlines.discard(items[n])
        else:
            now += amount
            due = sorted((when, name) for name, when in deadlines.items() if when <= now)
            expected += [(name, when) for when, name in due]
            for _, name in due:
                del deadlines[name]
            queue.time.advance(amount)
    assert [name for name, _ in queue.expired] == [name for name, _ in expected]
    assert [when for _, when in queue.expired] == pytest.approx([when for _, when in expected])
    assert [name for name, item in zip("01234", items, strict=True) if item.deadline != NEVER] == sorted(
        deadlines
    )
