from __future__ import annotations

import pytest

from livepost.delivery.classify import classify
from livepost.model import Outcome, State
from livepost.wire.message import Response


@pytest.mark.parametrize("status", [200, 201, 202, 204, 207, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert classify(Response(status, (), b"")) == Outcome(State.DELIVERED, f"status {status}")


@pytest.mark.parametrize("status", [300, 301, 304, 400, 404, 408, 409, 413, 429, 500, 503, 599, 600, 999])
def test_every_other_final_status_is_rejected(status: int) -> None:
    assert classify(Response(status, (), b"")) == Outcome(State.REJECTED, f"status {status}")


@pytest.mark.parametrize(("status", "state"), [(201, State.DELIVERED), (500, State.REJECTED)])
def test_the_status_of_an_answer_that_was_cut_off_still_counts(status: int, state: State) -> None:
    response = Response(status, (), b"half", complete=False)
    assert classify(response) == Outcome(state, f"status {status}, answer cut off")
