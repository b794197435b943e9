from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from probing_peers import NOW

from livepost.config import DeliveryOptions, RouteOptions
from livepost.net.fact import Fact, Source, Subject
from livepost.net.origin import Origin
from livepost.net.origin_memory import OriginMemory, cache_directory
from livepost.probing.facts import facts_of
from livepost.probing.findings import Contact, Ending, Findings, IdleLimit, KeepAliveHint, RequestCap
from livepost.probing.remembering import measured, remember
from livepost.target import parse_target

TARGET = parse_target("https://a.test/api")
FOUND = Findings(
    *("https://a.test/api", "/api", NOW),
    seconds=80.0,
    contact=Contact("HEAD", 200, "HTTP/1.1", True, None, None),
    keep_alive_hint=KeepAliveHint(70.0, 99),
    idle=IdleLimit(75.0, 60.0, None, ()),
    cap=RequestCap(1000, None, 1000, Ending.ANNOUNCED, 9.0, None),
)
AT = (NOW + timedelta(seconds=80)).timestamp()


def remembered(
    tmp_path: Path, findings: Findings = FOUND, *, unix_socket: str | None = None
) -> dict[Subject, Fact]:
    """What a delivery knows that comes ten seconds after the probe."""
    options = DeliveryOptions(target=TARGET, route=RouteOptions(unix_socket=unix_socket))
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    assert remember(findings, options, wall_clock=lambda: AT + 1.0, environment=environment) == []
    directory = cache_directory(environment)
    assert directory is not None
    problems: list[str] = []
    origin = Origin.of(TARGET, None, unix_socket)
    found = OriginMemory(directory, lambda: AT + 10.0, problems.append).load(origin)
    assert problems == []
    return found


@pytest.mark.parametrize("unix_socket", [None, "/run/api.sock"])
def test_a_delivery_knows_what_was_probed(tmp_path: Path, unix_socket: str | None) -> None:
    found = remembered(tmp_path, unix_socket=unix_socket)
    assert {subject: fact.value for subject, fact in found.items()} == {
        Subject.IDLE_LIMIT: 75.0,
        Subject.IDLE_OUTLIVED: 60.0,
        Subject.REQUEST_CAP: 1000.0,
    }
    assert [fact.at for fact in found.values()] == [pytest.approx(AT, abs=0.001)] * 3


def test_what_is_measured_says_so() -> None:
    facts = facts_of(FOUND, TARGET)
    assert facts is not None
    assert {fact.source for fact in measured(facts).values()} == {Source.PROBED}


def test_what_was_not_found_out_is_not_stored(tmp_path: Path) -> None:
    findings = dataclasses.replace(FOUND, cap=None, idle=IdleLimit(None, 130.0, None, ()))
    assert {subject: fact.value for subject, fact in remembered(tmp_path, findings).items()} == {
        Subject.IDLE_OUTLIVED: 130.0
    }


def test_a_server_without_keep_alive_has_no_cap(tmp_path: Path) -> None:
    contact = Contact("HEAD", 200, "HTTP/1.1", False, None, None)
    assert remembered(tmp_path, dataclasses.replace(FOUND, contact=contact, idle=None, cap=None)) == {}


def test_behind_a_proxy_nothing_was_learned_of_the_server(tmp_path: Path) -> None:
    assert remembered(tmp_path, dataclasses.replace(FOUND, via_proxy="p.test:3128")) == {}


def test_without_a_home_nothing_is_stored() -> None:
    assert remember(FOUND, DeliveryOptions(target=TARGET), environment={}) == []


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "livepost").write_bytes(b"")
    (problem,) = remember(
        FOUND, DeliveryOptions(target=TARGET), environment={"XDG_CACHE_HOME": str(tmp_path)}
    )
    assert problem.startswith("what was learned of the server cannot be kept in ")


@pytest.mark.parametrize("ending", [Ending.FIN, Ending.RESET])
def test_a_cap_that_is_not_announced_is_told_apart(tmp_path: Path, ending: Ending) -> None:
    found = remembered(tmp_path, dataclasses.replace(FOUND, cap=RequestCap(50, None, 50, ending, 9.0, None)))
    assert found[Subject.ANSWERED_CAP].value == 50.0
    assert Subject.REQUEST_CAP not in found


@pytest.mark.parametrize(("answered", "is_known"), [(49, True), (50, True), (51, False)])
def test_a_cap_that_was_not_announced_is_disproved_by_more_answers(
    tmp_path: Path, answered: int, is_known: bool
) -> None:
    remembered(tmp_path, dataclasses.replace(FOUND, cap=RequestCap(50, None, 50, Ending.FIN, 9.0, None)))
    longer = RequestCap(None, None, answered, None, 9.0, "no more were to be sent")
    found = remembered(tmp_path, dataclasses.replace(FOUND, cap=longer))
    fact = found.get(Subject.ANSWERED_CAP)
    assert (fact is not None and fact.source is not Source.CONTRADICTED) is is_known
