from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from livepost.config import LivenessOptions
from livepost.net.acquaintances import Acquaintances
from livepost.net.fact import Source
from livepost.net.knowledge import KeepAlive
from livepost.net.origin import Origin
from livepost.wire.message import RequestHead

ORIGIN = Origin("https", "api.test", 443)
HEALTH = RequestHead(method=b"GET", target=b"/health", authority=b"api.test", scheme=b"https", fields=())


class Clocks:
    """Time that passes awake, and time asleep."""

    def __init__(self) -> None:
        self.awake = 1000.0
        self.asleep = 0.0


def make(folder: Path, clocks: Clocks | None = None, **options: Any) -> Acquaintances:
    time = clocks or Clocks()
    return Acquaintances(
        LivenessOptions(**options),
        clock=lambda: time.awake,
        running=lambda: time.awake + time.asleep,
        wall_clock=lambda: 1e9,
        environment={"XDG_CACHE_HOME": str(folder)},
    )


def test_what_was_learned_of_a_server_is_known_to_the_next_run(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.meet(ORIGIN, is_safe_to_repeat=False).liveness.idle_closed(20.0, 1000.0)
    run.store()
    known = make(tmp_path).meet(ORIGIN, is_safe_to_repeat=False).liveness.idle_limit
    assert (known.value, known.source) == (20.0, Source.REMEMBERED)
    other = Origin("https", "other.test", 443)
    assert make(tmp_path).meet(other, is_safe_to_repeat=False).liveness.idle_limit.source is Source.DEFAULT


def test_without_memory_nothing_is_read_or_written(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.meet(ORIGIN, is_safe_to_repeat=False).liveness.idle_closed(20.0, 1000.0)
    run.store()
    before = [file.read_bytes() for file in tmp_path.rglob("*.json")]
    forgetful = make(tmp_path, no_memory=True)
    liveness = forgetful.meet(ORIGIN, is_safe_to_repeat=False).liveness
    assert liveness.idle_limit.source is Source.DEFAULT
    liveness.idle_closed(30.0, 1000.0)
    forgetful.store()
    assert [file.read_bytes() for file in tmp_path.rglob("*.json")] == before


def test_two_pools_of_one_server_know_the_same(tmp_path: Path) -> None:
    run = make(tmp_path)
    one, other = (run.meet(ORIGIN, is_safe_to_repeat=False) for _ in range(2))
    assert one.liveness is other.liveness


def test_a_sleep_is_told_once_to_each_pool(tmp_path: Path) -> None:
    clocks = Clocks()
    run = make(tmp_path, clocks)
    one, other = (run.meet(ORIGIN, is_safe_to_repeat=False) for _ in range(2))
    clocks.awake += 10.0
    assert one.slept() == 0.0
    clocks.asleep += 3600.0
    assert [one.slept(), one.slept(), other.slept()] == [3600.0, 0.0, 3600.0]


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (None, KeepAlive(HEALTH)),
        ("auto", KeepAlive(HEALTH, beats=True)),
        (2.5, KeepAlive(HEALTH, beats=True, every=2.5)),
    ],
)
def test_what_may_be_asked_to_keep_a_connection_alive(
    tmp_path: Path, every: str | None, expected: KeepAlive
) -> None:
    run = make(tmp_path, keepalive_path="/health", keepalive_every=every)
    assert run.meet(ORIGIN, is_safe_to_repeat=False, keepalive_head=HEALTH).keepalive == expected
    # Of another server nothing may be asked.
    assert run.meet(ORIGIN, is_safe_to_repeat=True).keepalive is None


def test_what_goes_wrong_with_the_memory_is_a_sentence_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "livepost").write_text("")
    run = make(tmp_path)
    run.meet(ORIGIN, is_safe_to_repeat=False).liveness.idle_closed(20.0, 1000.0)
    run.store()
    (problem,) = run.problems
    assert problem.startswith("what was learned of the server cannot be kept in ")
