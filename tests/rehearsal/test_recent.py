from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livepost.rehearsal.recent import RecentRecords


def test_what_was_there_is_known() -> None:
    recent = RecentRecords(100)
    assert [recent.add(n) for n in (5, 6, 5, -7, -7, 6)] == [False, False, True, False, True, True]


def test_fingerprints_that_want_the_same_slot_stay_apart() -> None:
    recent = RecentRecords(4)  # 8 slots
    assert [recent.add(n) for n in (7, 15, 23)] == [False, False, False]
    assert [recent.add(n) for n in (23, 15, 7)] == [True, True, True]


def test_the_oldest_are_forgotten() -> None:
    recent = RecentRecords(10)
    assert [recent.add(n) for n in range(1, 21)] == [False] * 20
    assert recent.add(11)
    assert not recent.add(1)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20), max_size=200))
def test_the_last_ones_are_always_known_and_no_other(fingerprints: list[int]) -> None:
    recent, seen = RecentRecords(16), list[int]()
    for fingerprint in fingerprints:
        known = recent.add(fingerprint)
        value = fingerprint % 2**64 or 1
        if value in seen[-16:]:
            assert known
        if value not in seen:
            assert not known
        if not known:
            seen.append(value)
