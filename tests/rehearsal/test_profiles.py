from __future__ import annotations

import pytest

from livepost.errors import ConfigurationError
from livepost.rehearsal.limits import Hint, IdleEnding
from livepost.rehearsal.profiles import PROFILES, profile_named


def test_every_server_has_its_row() -> None:
    assert {
        "nginx",
        "apache",
        "node",
        "go",
        "caddy",
        "traefik",
        "haproxy",
        "envoy",
        "tomcat",
        "jetty",
        "kestrel",
        "iis",
        "uvicorn",
        "gunicorn",
        "gunicorn-sync",
        "hypercorn",
        "alb",
        "nlb",
        "cloudflare",
        "gcp",
        "azure",
    } <= PROFILES.keys()
    assert all(profile.name == name for name, profile in PROFILES.items())


@pytest.mark.parametrize(
    ("name", "idle", "requests", "age", "streams"),
    [
        ("nginx", 75, 1000, 3600, 128),
        ("apache", 5, 101, None, 100),
        ("tomcat", 60, 100, None, 100),
        ("gunicorn", 2, None, None, 100),
        ("hypercorn", 5, 1000, None, 100),
        ("kestrel", 130, None, None, 100),
        ("alb", 60, None, 3600, 128),
        ("gcp", 610, None, None, 100),
    ],
)
def test_the_numbers_are_those_of_the_servers(
    name: str, idle: float, requests: int | None, age: float | None, streams: int
) -> None:
    limits = PROFILES[name].limits
    assert (limits.idle_timeout, limits.max_requests, limits.max_age) == (idle, requests, age)
    assert limits.max_streams == streams


def test_what_a_server_tells_and_what_it_does_not() -> None:
    hints = {name: profile.limits.hint for name, profile in PROFILES.items()}
    assert hints["apache"] is Hint.TIMEOUT_AND_MAX
    assert hints["tomcat"] is hints["node"] is Hint.TIMEOUT
    assert hints["nginx"] is hints["uvicorn"] is Hint.NONE
    assert [name for name, profile in PROFILES.items() if profile.limits.hints_unasked] == ["node", "node-65"]
    assert PROFILES["nlb"].limits.idle_ending is IdleEnding.FORGET
    assert PROFILES["azure"].limits.idle_ending is IdleEnding.VANISH
    assert not PROFILES["alb"].limits.pings_count
    assert PROFILES["gunicorn-sync"].limits.max_requests == 1
    assert not PROFILES["uvicorn"].http2


def test_a_name_may_be_in_capitals() -> None:
    assert profile_named("Nginx") is PROFILES["nginx"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ngnix", "there is no profile ngnix; did you mean nginx?"),
        ("tomcta", "there is no profile tomcta; did you mean tomcat?"),
        ("banana", "there is no profile banana"),
        ("", "there is no profile without a name"),
    ],
)
def test_a_mistyped_name_is_refused_with_a_suggestion(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        profile_named(name)
    assert (str(caught.value), caught.value.hint) == (said, "see livepost serve --help")
