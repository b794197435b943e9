from __future__ import annotations

import pytest

from livepost.cli.parser import Parser
from livepost.cli.serve_options import add_connection_options, limits_of, profile_of
from livepost.errors import ConfigurationError
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import Hint, IdleEnding, ServerLimits
from livepost.rehearsal.profiles import PROFILES

NO_TIME = "'x' is not a time; write 90, 1.5s, 500ms, 2m or 1h"


def parser() -> Parser:
    made = Parser("livepost serve", "livepost serve", "A server.")
    add_connection_options(made)
    return made


def limits(*arguments: str) -> ServerLimits:
    given = parser().parse(arguments)
    return limits_of(given, profile_of(given))


def test_without_options_there_are_no_limits() -> None:
    assert limits() == ServerLimits()


def test_a_profile_is_taken_whole() -> None:
    assert limits("--profile", "apache") == PROFILES["apache"].limits


def test_options_override_the_profile_one_by_one() -> None:
    changed = limits("--profile", "apache", "--idle-timeout", "300ms", "--max-requests", "10")
    assert (changed.idle_timeout, changed.max_requests, changed.hint) == (0.3, 10, Hint.TIMEOUT_AND_MAX)
    changed = limits("--profile=nginx", "--max-age=2m", "--http2", "--max-streams=5", "--unannounced")
    assert (changed.max_age, changed.max_requests, changed.max_streams) == (120, 1000, 5)
    assert not changed.announces


def test_none_takes_a_limit_of_the_profile_away() -> None:
    without = ("--idle-timeout", "none", "--max-requests", "NONE", "--max-age", "none")
    changed = limits("--profile", "nginx", *without)
    assert (changed.idle_timeout, changed.max_requests, changed.max_age) == (None, None, None)


@pytest.mark.parametrize("ending", list(IdleEnding))
def test_idle_endings_by_their_names(ending: IdleEnding) -> None:
    assert limits("--idle-timeout", "1", "--idle-ending", ending.value).idle_ending is ending


@pytest.mark.parametrize(
    ("text", "latency"),
    [
        ("20ms", Latency(0.02)),
        ("20ms+-5ms", Latency(0.02, 0.005)),
        ("1s±1s", Latency(1, 1)),
    ],
)
def test_latencies(text: str, latency: Latency) -> None:
    assert parser().parse(["--latency", text]).latency == latency


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], 0.0),
        (["--clock-skew", "90s"], 90.0),
        (["--clock-skew", "+2m"], 120.0),
        (["--clock-skew=-1.5s"], -1.5),
    ],
)
def test_clocks_that_are_ahead_and_behind(arguments: list[str], seconds: float) -> None:
    assert parser().parse(arguments).clock_skew == seconds


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "ngnix"], "there is no profile ngnix; did you mean nginx?"),
        (["--profile", "uvicorn", "--http2"], "uvicorn does not speak HTTP/2 itself"),
        (["--idle-ending", "close"], "--idle-ending is given without an idle limit"),
        (["--idle-timeout", "1", "--idle-ending", "fin"], "there is no idle ending fin"),
        (["--unannounced"], "--unannounced is given without a limit that could be announced"),
        (["--max-streams", "5"], "--max-streams is given without --http2"),
        (["--tls-key", "k"], "--tls-key is given without --tls-cert"),
        (["--max-requests", "0"], "max requests is 0"),
        (["--max-requests", "many"], "argument --max-requests: 'many' is not a number"),
        (
            ["--idle-timeout", "x"],
            f"argument --idle-timeout: {NO_TIME}",
        ),
        (["--latency", "1ms+-2ms"], "a latency of 0.001 s cannot vary by 0.002 s"),
        (["--latency", "1ms+-x"], f"argument --latency: {NO_TIME}"),
        (["--clock-skew", "x"], f"argument --clock-skew: {NO_TIME}"),
        (["--clock-skew", "900000h"], "argument --clock-skew: '900000h' is more than 100 years"),
        (["--clock-skew=-900000h"], "argument --clock-skew: '-900000h' is more than 100 years"),
        (["--max-ages", "5"], "there is no option --max-ages; did you mean --max-age?"),
    ],
)
def test_what_is_wrong_is_said_with_a_hint(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        limits(*arguments)
    assert str(caught.value) == said
    assert caught.value.hint
