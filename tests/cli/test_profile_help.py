from __future__ import annotations

import pytest

from livepost.cli.profile_help import described, table_of_profiles
from livepost.rehearsal.limits import Hint, IdleEnding, ServerLimits
from livepost.rehearsal.profiles import PROFILES

TABLE = table_of_profiles()


def row(name: str) -> str:
    (line,) = [line for line in TABLE.splitlines() if line.split()[:1] == [name]]
    return " ".join(line.split())


def test_every_profile_has_a_row() -> None:
    assert all(row(name) for name in PROFILES)


@pytest.mark.parametrize(
    "shown",
    [
        "nginx 75s 1000 1h 128 code PINGs do not count",
        "apache 5s 101 - 100 code hints if asked",
        "node 5s - - - docs hints; up to version 25",
        "gunicorn-sync - 1 - - code its default worker: no keep-alive",
        "jetty 30s - - 128 memory H2 from its documentation",
        "azure 240s - - 100 docs vanishes",
        "nlb 350s - - 100 docs forgets, later RST; as a NAT",
    ],
)
def test_a_row_says_all(shown: str) -> None:
    assert row(shown.split()[0]) == shown


@pytest.mark.parametrize("width", [30, 40, 79, 80, 200])
def test_it_fits_on_a_terminal(width: int) -> None:
    table = table_of_profiles(width)
    assert max(map(len, table.splitlines())) <= min(width, 80)
    assert all(f"\n  {name}" in table for name in PROFILES)


def test_without_room_for_a_table_it_is_a_list_that_says_the_same() -> None:
    listed = " ".join(table_of_profiles(40).split())
    for item in (
        "nginx: idle 75s, 1,000 requests, age 1h, 128 streams; code; PINGs do not count",
        "gunicorn-sync: 1 request; code; its default worker: no keep-alive",
        "node: idle 5s; docs; hints; up to version 25",
        "nlb: idle 350s, 100 streams; docs; forgets, later RST; as a NAT",
    ):
        assert item in listed


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ServerLimits(), ""),
        (PROFILES["nginx"].limits, "idle 75s, 1000 requests, age 1h"),
        (PROFILES["apache"].limits, "idle 5s, 101 requests, Keep-Alive: timeout=N, max=M"),
        (
            ServerLimits(idle_timeout=0.2, idle_ending=IdleEnding.FORGET),
            "idle 200ms (forgets, later RST)",
        ),
        (ServerLimits(max_requests=5, announces=False), "5 requests, ends unannounced"),
        (ServerLimits(hint=Hint.TIMEOUT, idle_timeout=90), "idle 90s, Keep-Alive: timeout=N"),
    ],
)
def test_limits_in_words(limits: ServerLimits, words: str) -> None:
    assert described(limits) == words
