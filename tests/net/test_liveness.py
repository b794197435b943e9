from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepost.net.deadlines import NEVER
from livepost.net.fact import Fact, Source, Subject
from livepost.net.hand_over import HandOverReason
from livepost.net.liveness import Liveness
from livepost.net.reuse import Decision, Reuse, ReuseReason
from livepost.wire.message import Fields

NOW = 1_000_000.0


def earliest(low: float, high: float) -> float:
    return low


def latest(low: float, high: float) -> float:
    return high


def make(
    remembered: dict[Subject, float] | None = None,
    *,
    max_connection_age: float | None = None,
    uniform: Callable[[float, float], float] = earliest,
) -> Liveness:
    facts = {
        subject: Fact(value, Source.REMEMBERED, NOW - 1) for subject, value in (remembered or {}).items()
    }
    return Liveness(lambda: NOW, facts, max_connection_age=max_connection_age, uniform=uniform)


def fields(keep_alive: bytes) -> Fields:
    return ((b"keep-alive", keep_alive), (b"content-length", b"0"))


def known(liveness: Liveness) -> tuple[float, str]:
    return liveness.idle_limit.value, liveness.idle_limit.source.value


def reuse(liveness: Liveness, idle: float, *, is_safe: bool = False, can_test: bool = False) -> Reuse:
    return liveness.reuse(idle, is_safe=is_safe, can_test=can_test)


def test_an_unknown_server_is_trusted_for_four_seconds_less_the_margin() -> None:
    liveness = make()
    assert known(liveness) == (4.0, "default")
    assert liveness.margin == 0.5
    assert reuse(liveness, 3.49) == Reuse(Decision.REUSE, ReuseReason.WITHIN_LIMIT)
    assert reuse(liveness, 3.5) == Reuse(Decision.RETIRE, ReuseReason.NEAR_LIMIT)
    assert reuse(liveness, 4.5) == Reuse(Decision.RETIRE, ReuseReason.PAST_LIMIT)


def test_what_can_be_tested_is_not_retired() -> None:
    assert reuse(make(), 3.5, can_test=True) == Reuse(Decision.TEST, ReuseReason.NEAR_LIMIT)
    assert reuse(make(), 99.0, can_test=True) == Reuse(Decision.TEST, ReuseReason.PAST_LIMIT)


def test_an_unknown_server_is_tested_where_some_would_have_closed() -> None:
    """Gunicorn's default is 2 s."""
    unknown = make()
    assert reuse(unknown, 1.49, can_test=True) == Reuse(Decision.REUSE, ReuseReason.WITHIN_LIMIT)
    assert reuse(unknown, 1.5, can_test=True) == Reuse(Decision.TEST, ReuseReason.UNKNOWN_LIMIT)
    assert reuse(unknown, 3.4, can_test=True) == Reuse(Decision.TEST, ReuseReason.UNKNOWN_LIMIT)
    assert reuse(unknown, 1.5, can_test=True, is_safe=True).decision is Decision.REUSE
    unknown.idle_closed(4.0, 100.0)
    assert reuse(unknown, 3.4, can_test=True) == Reuse(Decision.REUSE, ReuseReason.WITHIN_LIMIT)


def test_a_request_that_is_safe_to_repeat_tests_the_connection_itself() -> None:
    assert reuse(make(), 99.0, is_safe=True) == Reuse(Decision.REUSE, ReuseReason.SAFE_TO_REPEAT)
    assert reuse(make(), 1.0, is_safe=True).reason is ReuseReason.WITHIN_LIMIT


@pytest.mark.parametrize(
    ("limit", "round_trips", "margin"),
    [
        (75.0, (), 0.5),
        (75.0, (0.1,), 0.5),
        (75.0, (0.2, 0.3, 0.01), 0.8),
        (75.0, (5.0,), 2.0),
        (2.0, (5.0,), 1.0),
        (0.8, (), 0.4),
    ],
)
def test_the_margin_follows_the_longest_round_trip(
    limit: float, round_trips: tuple[float, ...], margin: float
) -> None:
    liveness = make({Subject.IDLE_LIMIT: limit})
    for seconds in round_trips:
        liveness.round_trip(seconds)
    assert liveness.margin == pytest.approx(margin)


def test_a_round_trip_long_ago_is_forgotten() -> None:
    liveness = make()
    liveness.round_trip(0.5)
    for _ in range(100):
        liveness.round_trip(0.01)
    assert liveness.margin == 0.5


def test_a_hint_is_taken_at_its_word() -> None:
    """Apache says how many more it takes: with the first answer, 100."""
    liveness = make()
    liveness.hint(fields(b"timeout=5, max=100"), 1)
    assert known(liveness) == (5.0, "hint")
    assert liveness.requests_limit == 101
    liveness.hint(fields(b"timeout=5, max=99"), 2)
    assert liveness.request_cap == Fact(101, Source.HINT, NOW)


def test_fields_that_were_just_looked_at_are_not_looked_at_again() -> None:
    liveness = make()
    same = fields(b"max=10")
    liveness.hint(same, 1)
    liveness.hint(same, 5)
    assert liveness.requests_limit == 11


def test_a_hint_of_zero_seconds_means_that_nothing_unsafe_is_put_on_an_idle_connection() -> None:
    liveness = make()
    liveness.hint(fields(b"timeout=0"), 1)
    assert reuse(liveness, 0.0).decision is Decision.RETIRE


def test_an_idle_close_teaches_the_limit() -> None:
    liveness = make()
    liveness.idle_closed(75.03, 100.0)
    assert known(liveness) == (75.0, "learned")
    assert reuse(liveness, 74.4).decision is Decision.REUSE
    assert reuse(liveness, 74.5).decision is Decision.RETIRE


def test_a_restart_teaches_nothing() -> None:
    liveness = make()
    liveness.busy_closed(99.9)
    liveness.idle_closed(2.0, 100.0)
    assert known(liveness) == (4.0, "default")


def test_a_connection_used_again_after_a_long_time_shows_that_one_may_be() -> None:
    liveness = make()
    liveness.idle_reused(300.0)
    assert known(liveness) == (300.0, "outlived")


def test_silence_proves_a_minute_at_most() -> None:
    """Middleboxes drop connections without a word, but not sooner."""
    liveness = make()
    liveness.idle_outlived(20.0)
    assert known(liveness) == (20.0, "outlived")
    liveness.idle_outlived(300.0)
    assert known(liveness) == (60.0, "outlived")


def test_a_retired_connection_is_worth_watching_until_something_is_known() -> None:
    liveness = make()
    assert liveness.wants_to_see_idle_close
    liveness.idle_outlived(20.0)
    assert liveness.wants_to_see_idle_close
    liveness.idle_outlived(60.0)
    assert not liveness.wants_to_see_idle_close
    learned = make()
    learned.idle_closed(2.0, 100.0)
    # A restart closes idle connections, too.
    assert learned.wants_to_see_idle_close
    assert learned.disproved_after == pytest.approx(3.2)
    learned.idle_closed(2.0, 200.0)
    assert not learned.wants_to_see_idle_close
    assert make({Subject.IDLE_LIMIT: 75.0}).wants_to_see_idle_close


def test_a_remembered_limit_is_disproved_however_long_others_have_lived() -> None:
    liveness = make({Subject.IDLE_LIMIT: 1.0, Subject.IDLE_OUTLIVED: 60.0})
    assert known(liveness)[0] == 1.0
    liveness.idle_outlived(2.1)
    assert known(liveness)[0] == 1.0
    liveness.idle_outlived(2.3)
    assert known(liveness) == (60.0, "remembered")


def test_a_close_that_came_too_soon_is_forgotten_when_a_retired_connection_outlives_it() -> None:
    """So a restart does not cost a handshake each time for ever, even if no request is safe to repeat."""
    liveness = make({Subject.IDLE_LIMIT: 75.0})
    liveness.idle_closed(3.0, 100.0)
    assert known(liveness) == (3.0, "learned")
    assert reuse(liveness, 20.0).decision is Decision.RETIRE
    liveness.idle_outlived(20.0)
    assert known(liveness) == (75.0, "remembered")


@pytest.mark.parametrize(
    ("limit", "low", "high"),
    [(60.0, 30.0, 48.0), (4.0, 2.0, 3.2), (2.0, 1.0, 1.5), (3.0, 1.5, 2.4), (1.4, None, None)],
)
def test_heartbeats_come_between_half_and_four_fifths_of_the_limit(
    limit: float, low: float | None, high: float | None
) -> None:
    remembered = {Subject.IDLE_LIMIT: limit}
    assert make(remembered, uniform=earliest).heartbeat_after() == pytest.approx(low)
    assert make(remembered, uniform=latest).heartbeat_after() == pytest.approx(high)


def test_a_cap_is_handed_over_before() -> None:
    liveness = make()
    for _ in range(2):
        liveness.announced(1000, 5.0)
    planned = liveness.hand_over(1, requests_per_second=100.0, dial_seconds=0.03)
    assert (planned.requests, planned.requests_limit) == (997, 1000)
    assert planned.due(997, 1.0) is HandOverReason.CAP
    liveness.unannounced(1000, 5.0)
    assert liveness.requests_limit is None
    assert liveness.hand_over(2, requests_per_second=100.0, dial_seconds=0.03).requests == NEVER


def test_a_learned_age_is_handed_over_before_but_for_one_connection_in_eight() -> None:
    liveness = make()
    for requests in (7000, 7500):
        liveness.announced(requests, 3600.0)
    assert liveness.maximum_age == Fact(3600.0, Source.LEARNED, NOW)
    ages = [
        liveness.hand_over(n, requests_per_second=9.0, dial_seconds=0.1).age_seconds for n in range(1, 17)
    ]
    assert [round(age, 9) for age in ages if age != NEVER] == 14 * [3599.4]
    assert ages[7] == ages[15] == NEVER


def test_the_users_age_is_spread_by_a_tenth_each_way() -> None:
    liveness = make(max_connection_age=100.0, uniform=random.Random(1).uniform)
    limits = sorted(
        liveness.hand_over(n, requests_per_second=1.0, dial_seconds=0.1).age_limit_seconds
        for n in range(1, 65)
    )
    assert 90.0 <= limits[0] < 91.0
    assert 109.0 < limits[-1] <= 110.0
    assert max(b - a for a, b in itertools.pairwise(limits)) < 1.0


def test_the_shorter_of_the_ages_counts() -> None:
    remembered = {Subject.MAXIMUM_AGE: 60.0}
    plan = make(remembered, max_connection_age=100.0).hand_over(1, requests_per_second=1.0, dial_seconds=0.0)
    assert plan.age_limit_seconds == 60.0
    plan = make(remembered, max_connection_age=10.0).hand_over(1, requests_per_second=1.0, dial_seconds=0.0)
    assert plan.age_limit_seconds == pytest.approx(9.0 + 2 * 0.6180339887, abs=1e-6)


def test_what_is_remembered_is_used_and_not_learned_again() -> None:
    liveness = make({Subject.IDLE_LIMIT: 75.0, Subject.REQUEST_CAP: 1000, Subject.MAXIMUM_AGE: 3600.0})
    assert known(liveness) == (75.0, "remembered")
    assert liveness.requests_limit == 1000
    assert liveness.facts == {}


def test_what_was_contradicted_in_an_earlier_run_is_not_used() -> None:
    facts = {subject: Fact(7.0, Source.CONTRADICTED, NOW) for subject in Subject}
    liveness = Liveness(lambda: NOW, facts)
    assert known(liveness) == (4.0, "default")
    assert (liveness.request_cap, liveness.maximum_age) == (None, None)


def test_where_an_earlier_run_was_let_down_this_one_ends_connections_itself() -> None:
    liveness = make()
    for now in range(2):
        liveness.let_down(1000, now, now + 0.5)
    later = Liveness(lambda: NOW, liveness.facts)
    assert (later.requests_limit, later.ends_at_cap, later.facts) == (1000, True, {})


def test_everything_learned_is_given_back_to_be_remembered() -> None:
    liveness = make()
    liveness.idle_closed(5.0, 100.0)
    for requests in (100, 100, 300, 400):
        liveness.announced(requests, 60.0 if requests > 100 else 1.0)
    assert {subject.value: fact.value for subject, fact in liveness.facts.items()} == {
        "idle_limit": 5.0,
        "idle_outlived": 5.0,
        "request_cap": 0.0,
        "maximum_age": 60.0,
    }


@dataclass
class Server:
    """Closes what is idle for `idle_limit`, announces the end of a connection at `cap` or `maximum_age`."""

    idle_limit: float
    cap: int
    maximum_age: float
    round_trip: float


@dataclass
class Link:
    """A connection as the client has it."""

    number: int
    began_at: float
    idle_since: float
    requests: int = 0


class Client:
    """Sends bursts of unsafe requests on one connection at a time, as a pool would, and counts."""

    def __init__(self, server: Server, liveness: Liveness) -> None:
        self.server = server
        self.liveness = liveness
        self.now = 1000.0
        self.dials = self.crossed = self.surprises = self.handed_over = 0
        self.retired_early: list[float] = []
        self.reused: list[float] = []
        self.has_seen_close = False
        self._link: Link | None = None
        self._watched: list[Link] = []
        liveness.round_trip(server.round_trip)

    def pause(self, seconds: float) -> None:
        self.now += seconds
        for link in [link for link in (self._link, *self._watched) if link is not None]:
            # The FIN was half a round trip on its way, and the server was idle for so long before us.
            if self.now - link.idle_since >= self.server.idle_limit:
                self.liveness.idle_closed(self.server.idle_limit, link.idle_since + self.server.idle_limit)
                self.has_seen_close = True
                self._forget(link)

    def send(self, requests: int, seconds_each: float) -> None:
        link = self._usable_link()
        for _ in range(requests):
            self.now += seconds_each
            age = self.now - link.began_at
            link.requests += 1
            plan = self.liveness.hand_over(link.number, requests_per_second=0.0, dial_seconds=0.0)
            if link.requests == self.server.cap or age >= self.server.maximum_age:
                self.surprises += plan.due(link.requests, age) is None
                self.liveness.announced(link.requests, age)
                link = self._dial()
                continue
            self.liveness.unannounced(link.requests, age)
            if plan.due(link.requests, age) is HandOverReason.AGE or link.requests >= plan.requests_limit:
                self.handed_over += 1
                link = self._dial()
        link.idle_since = self.now

    def _usable_link(self) -> Link:
        link = self._link
        if link is None:
            return self._dial()
        idle = self.now - link.idle_since
        if self.liveness.reuse(idle, is_safe=False, can_test=False).decision is Decision.REUSE:
            # When the request arrives the server has been idle for a round trip longer.
            if idle + self.server.round_trip >= self.server.idle_limit:
                self.crossed += 1
                assert not self.has_seen_close
                # As the keeper has it of a request that breaks so soon after a pause.
                self.liveness.idle_closed(idle, self.now)
                self.has_seen_close = True
                return self._dial()
            self.reused.append(idle)
            self.liveness.idle_reused(idle)
            return link
        self.retired_early.append(idle)
        self._watched = [link] if self.liveness.wants_to_see_idle_close else []
        self.liveness.idle_outlived(idle)
        return self._dial()

    def _dial(self) -> Link:
        self.dials += 1
        self._link = Link(self.dials, self.now, self.now)
        return self._link

    def _forget(self, link: Link) -> None:
        if link is self._link:
            self._link = None
        else:
            self._watched.remove(link)


limits = st.sampled_from([0.5, 2.0, 3.0, 5.0, 15.0, 60.0, 75.0, 350.0])
bursts = st.lists(
    st.tuples(st.floats(0.0, 1.3), st.integers(1, 50), st.floats(0.001, 0.2)), min_size=1, max_size=60
)


@settings(max_examples=300)
@given(limits, st.sampled_from([20, 100, 10**9]), st.floats(0.0, 0.2), bursts)
def test_whatever_the_server_no_request_meets_its_close_once_that_was_seen(
    idle_limit: float, cap: int, round_trip: float, happened: list[tuple[float, int, float]]
) -> None:
    """Pauses are around the idle limit."""
    round_trip = min(round_trip, idle_limit / 4)
    client = Client(Server(idle_limit, cap, NEVER, round_trip), make())

    def inaccuracy() -> float:
        """What the limit is rounded down by; a request that crosses is earlier than the close, too."""
        return 1.0 + round_trip if client.crossed else 0.1

    for part_of_limit, requests, seconds_each in happened:
        client.pause(part_of_limit * idle_limit)
        was_known = client.liveness.idle_limit.source is Source.LEARNED
        retired = len(client.retired_early)
        client.send(requests, seconds_each)
        if was_known and len(client.retired_early) > retired:
            # Not retired sooner than the margin asks for.
            assert client.retired_early[-1] >= idle_limit - client.liveness.margin - inaccuracy()
    if client.has_seen_close:
        assert client.liveness.idle_limit.value == pytest.approx(idle_limit, abs=inaccuracy())
    assert client.surprises <= 2
    assert client.handed_over == 0


@pytest.mark.parametrize("seed", range(10))
def test_a_maximum_age_is_learned_and_kept_to(seed: int) -> None:
    uniform = random.Random(seed).uniform
    client = Client(Server(1e9, 10**9, 60.0, 0.01), make())
    while client.dials < 41:
        client.send(1, uniform(0.01, 0.2))
    age = client.liveness.maximum_age
    assert age is not None
    assert 60.0 <= age.value <= 60.2
    # Two teach it, and one in eight is let go on to see whether it is still so.
    assert client.surprises == 7
    assert client.handed_over == 33


def test_a_maximum_age_that_is_no_more_is_forgotten() -> None:
    uniform = random.Random(1).uniform
    client = Client(Server(1e9, 10**9, 60.0, 0.01), make())
    while client.dials < 4:
        client.send(1, uniform(0.01, 0.2))
    client.server.maximum_age = NEVER
    for _ in range(100_000):
        client.send(1, 0.1)
    assert client.liveness.maximum_age is None
    assert client.dials == 8


def test_long_pauses_cost_a_handshake_each_only_until_the_limit_is_known() -> None:
    """Nobody need tell: the first connection that is retired stays open until the server closes it."""
    client = Client(Server(75.0, 10**9, NEVER, 0.02), make())
    for _ in range(20):
        client.pause(70.0)
        client.send(10, 0.01)
    assert client.dials == 2
    assert client.crossed == 0
    assert len(client.reused) == 18


def test_a_server_without_a_limit_costs_two_handshakes_where_pauses_are_short() -> None:
    client = Client(Server(1e9, 10**9, NEVER, 0.02), make())
    for _ in range(20):
        client.pause(20.0)
        client.send(10, 0.01)
        if client.liveness.wants_to_see_idle_close:
            client.liveness.idle_outlived(client.now - 1000.0)
    assert client.dials == 2


def test_what_would_disprove_a_limit_goes_by_what_was_seen_and_not_by_what_it_was_rounded_to() -> None:
    liveness = make()
    liveness.idle_closed(2.95, 100.0)
    assert known(liveness) == (2.0, "learned")
    assert liveness.disproved_after == pytest.approx(4.15)
    liveness.idle_outlived(liveness.disproved_after + 0.1)
    assert liveness.idle_limit.source is not Source.LEARNED


def test_a_limit_that_was_learned_is_remembered_though_the_remembered_one_was_wrong() -> None:
    liveness = make({Subject.IDLE_LIMIT: 5.0})
    for now in (100.0, 200.0):
        liveness.idle_closed(5.01, now)
    liveness.idle_reused(8.0)
    assert known(liveness) == (5.0, "learned")
    assert liveness.facts[Subject.IDLE_LIMIT].value == 5.0
