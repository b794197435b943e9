from __future__ import annotations

from pathlib import Path

import pytest

from livepost.cli.standing import Standing, quoted
from livepost.runs.marks import Counts


def standing(records: int | None, **counts: int) -> Standing:
    return Standing(Path("my run"), records, Counts(**counts))


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (standing(3, delivered=3), "3 of 3 delivered"),
        (standing(None, delivered=1200), "1,200 delivered"),
        (
            standing(20_000, delivered=9_000, rejected=1, in_doubt=2, in_flight=3),
            (
                "9,000 of 20,000 delivered, 1 rejected, 2 in doubt, 3 in flight when it was interrupted, "
                "10,994 unsent"
            ),
        ),
    ],
)
def test_it_is_one_line(one: Standing, text: str) -> None:
    assert str(one) == text


@pytest.mark.parametrize(
    ("one", "is_complete", "is_delivered"),
    [
        (standing(3, delivered=3), True, True),
        (standing(0), True, True),
        (standing(None, delivered=3), False, True),
        (standing(4, delivered=3), False, True),
        (standing(4, delivered=3, in_flight=1), False, False),
        (standing(4, delivered=3, rejected=1), True, False),
        (standing(4, delivered=3, in_doubt=1), True, False),
    ],
)
def test_when_nothing_is_left_and_when_all_is_well(
    one: Standing, is_complete: bool, is_delivered: bool
) -> None:
    assert (one.is_complete, one.is_delivered) == (is_complete, is_delivered)


def test_what_is_known_is_data() -> None:
    assert standing(None, delivered=1).as_dict() == {"delivered": 1, "rejected": 0, "in_doubt": 0}
    assert standing(9, delivered=1, rejected=2, in_doubt=3, in_flight=1).as_dict() == {
        "delivered": 1,
        "rejected": 2,
        "in_doubt": 3,
        "in_flight": 1,
        "unsent": 2,
    }


def test_the_command_that_sends_the_rest_again_can_be_copied() -> None:
    assert standing(3, delivered=3).where_the_rest_is() == []
    assert standing(3, rejected=1).where_the_rest_is() == [
        "1 rejected: my run/rejected.ndjson",
        "to send them again: livepost retry 'my run' --rejected",
    ]
    assert standing(3, rejected=1, in_doubt=2).where_the_rest_is() == [
        "1 rejected: my run/rejected.ndjson",
        "2 in doubt: my run/in-doubt.ndjson",
        "to send them again: livepost retry 'my run' --rejected --in-doubt",
    ]
    assert quoted(Path(".livepost/in-20261122T161826Z")) == ".livepost/in-20261122T161826Z"
