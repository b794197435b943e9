from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepost.net.fact import Fact, Source, Subject
from livepost.net.origin import Origin
from livepost.net.origin_memory import KEPT_SECONDS, OriginMemory, cache_directory

NOW = 1_800_000_000.0
ORIGIN = Origin("https", "api.example.com", 443)
IDLE = {Subject.IDLE_LIMIT: Fact(75.0, Source.LEARNED, NOW - 10)}


class Memory:
    """An OriginMemory in the test's hands."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.problems: list[str] = []
        self.directory = directory
        self.memory = OriginMemory(directory, lambda: self.now, self.problems.append)

    def load(self, origin: Origin = ORIGIN) -> dict[str, tuple[float, str]]:
        facts = self.memory.load(origin)
        return {subject.value: (fact.value, fact.source.value) for subject, fact in facts.items()}

    def file(self) -> Path:
        return self.memory.path(ORIGIN)

    def content(self) -> Any:
        return json.loads(self.file().read_bytes())

    def write(self, content: bytes) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.file().write_bytes(content)


@pytest.fixture
def kept(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "cache" / "livepost" / "servers")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_stored_is_remembered(kept: Memory) -> None:
    assert kept.load() == {}
    kept.memory.store(ORIGIN, {**IDLE, Subject.REQUEST_CAP: Fact(1000, Source.HINT, NOW)})
    assert kept.load() == {"idle_limit": (75.0, "remembered"), "request_cap": (1000.0, "remembered")}
    assert kept.memory.load(ORIGIN)[Subject.IDLE_LIMIT].at == NOW - 10
    assert kept.problems == []


def test_the_file_is_readable_by_people(kept: Memory) -> None:
    kept.memory.store(ORIGIN, IDLE)
    assert kept.file().name.startswith("https-api.example.com-443-")
    assert kept.content() == {
        "version": 1,
        "server": "https://api.example.com:443",
        "facts": {
            "idle_limit": {"value": 75.0, "source": "learned", "at": "2027-01-15T07:59:50.000+00:00"},
        },
    }


def test_files_and_directories_are_the_users_only(kept: Memory) -> None:
    before = os.umask(0)
    try:
        kept.memory.store(ORIGIN, IDLE)
    finally:
        os.umask(before)
    assert mode(kept.file()) == 0o600
    for directory in (kept.directory, kept.directory.parent, kept.directory.parent.parent):
        assert mode(directory) == 0o700
    assert os.listdir(kept.directory) == [kept.file().name]


def test_nothing_to_keep_makes_no_file(kept: Memory) -> None:
    kept.memory.store(ORIGIN, {})
    kept.memory.store(ORIGIN, {Subject.IDLE_LIMIT: Fact(4.0, Source.DEFAULT, NOW)})
    assert not kept.directory.exists()


def test_a_fact_is_good_for_seven_days_from_when_it_was_confirmed(kept: Memory) -> None:
    kept.memory.store(ORIGIN, {**IDLE, Subject.REQUEST_CAP: Fact(1000, Source.LEARNED, NOW)})
    kept.now = NOW - 10 + KEPT_SECONDS - 1
    assert set(kept.load()) == {"idle_limit", "request_cap"}
    kept.now += 1
    assert set(kept.load()) == {"request_cap"}
    kept.now += 10
    assert kept.load() == {}


def test_what_is_only_remembered_does_not_stay_for_longer(kept: Memory) -> None:
    kept.memory.store(ORIGIN, IDLE)
    kept.memory.store(ORIGIN, kept.memory.load(ORIGIN))
    assert kept.content()["facts"]["idle_limit"]["source"] == "learned"
    kept.now += KEPT_SECONDS
    kept.memory.store(ORIGIN, {Subject.REQUEST_CAP: Fact(7, Source.LEARNED, kept.now)})
    assert set(kept.content()["facts"]) == {"request_cap"}


def test_a_fact_from_the_future_is_not_believed(kept: Memory) -> None:
    kept.memory.store(ORIGIN, {Subject.IDLE_LIMIT: Fact(75.0, Source.LEARNED, NOW + 86_400)})
    assert kept.load() == {}


def test_a_fact_that_was_contradicted_is_gone_for_others_too(kept: Memory) -> None:
    kept.memory.store(ORIGIN, IDLE)
    other = Memory(kept.directory)
    kept.memory.store(ORIGIN, {Subject.IDLE_LIMIT: Fact(0.0, Source.CONTRADICTED, NOW)})
    # Another process that ends later, and knew it before that.
    other.memory.store(ORIGIN, IDLE)
    assert other.load() == {"idle_limit": (0.0, "contradicted")}


def test_the_newer_fact_of_two_processes_stays(kept: Memory) -> None:
    for value, at in ((5.0, NOW - 5), (7.0, NOW - 7), (6.0, NOW - 6)):
        kept.memory.store(ORIGIN, {Subject.IDLE_LIMIT: Fact(value, Source.LEARNED, at)})
    kept.memory.store(ORIGIN, {Subject.MAXIMUM_AGE: Fact(60.0, Source.LEARNED, NOW - 99)})
    assert kept.load() == {"idle_limit": (5.0, "remembered"), "maximum_age": (60.0, "remembered")}


@pytest.mark.parametrize(
    "host",
    [
        *(
            "..",
            "../../etc/passwd",
            "a/b",
            "a\\b",
            ".",
            "",
            "a\nb",
            "a\0b",
            "~root",
            "x" * 5000,
            "ü",
            "\udcff",
        ),
        *("::1", "fe80::1%eth0", "*", "con", "-rf"),
    ],
)
def test_no_name_leads_out_of_the_directory(kept: Memory, host: str) -> None:
    origin = Origin("https", host, 443)
    kept.memory.store(origin, IDLE)
    assert kept.load(origin) == {"idle_limit": (75.0, "remembered")}
    path = kept.memory.path(origin)
    assert path.parent == kept.directory
    assert os.listdir(kept.directory) == [path.name]
    assert len(path.name) <= 255
    assert not path.name.startswith((".", "-", "~"))
    assert kept.problems == []


def test_names_that_look_alike_have_files_of_their_own(kept: Memory) -> None:
    origins = [
        *(Origin("https", host, 443) for host in ("a_b", "a-b", "a.b", "x" * 200 + "1", "x" * 200 + "2")),
        *(Origin("http", "a.b", 443), Origin("https", "a.b", 8443)),
    ]
    assert len({kept.memory.path(origin) for origin in origins}) == len(origins)


FACT = b'{"value": 1, "source": "hint", "at": "2027-01-15T07:59:50+00:00"}'


def with_facts(facts: bytes) -> bytes:
    return b'{"version": 1, "server": "https://api.example.com:443", "facts": {' + facts + b"}}"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b"{}", b'{"version": 1}', b"[" * 60_000),
        b'{"version": 2, "server": "https://api.example.com:443", "facts": {}}',
        b'{"version": 1, "server": "https://other.example.com:443", "facts": {}}',
        b'{"version": 1, "server": "https://api.example.com:443", "facts": []}',
        with_facts(b'"idle_limit": 7'),
        with_facts(b'"idle_limit": {"value": 1}'),
        *(
            with_facts(b'"idle_limit": ' + FACT.replace(*change))
            for change in (
                *(
                    (b"1,", b"-1,"),
                    (b"1,", b"true,"),
                    (b"1,", b"NaN,"),
                    (b"1,", b"Infinity,"),
                    (b"1,", b'"1",'),
                ),
                *((b"hint", b"rumour"), (b"2027", b"2"), (b"+00:00", b""), (b"2027-01-15", b"9999-13-40")),
            )
        ),
        b" " * 70_000,
    ],
)
def test_a_damaged_file_is_ignored_told_once_and_replaced(kept: Memory, content: bytes) -> None:
    kept.write(content)
    assert kept.load() == {}
    assert kept.load() == {}
    assert len(kept.problems) == 1
    assert kept.problems[0].startswith(f"{str(kept.file())!r} is ignored: ")
    kept.memory.store(ORIGIN, IDLE)
    assert kept.load() == {"idle_limit": (75.0, "remembered")}
    assert len(kept.problems) == 1


def test_what_a_later_version_knows_besides_is_no_damage(kept: Memory) -> None:
    kept.write(with_facts(b'"idle_limit": ' + FACT + b', "colour": {"value": "blue"}'))
    assert kept.load() == {"idle_limit": (1.0, "remembered")}
    assert kept.problems == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_no_content_breaks_it(kept: Memory, content: bytes) -> None:
    kept.write(content)
    assert kept.load() == {}


def test_nobody_waits_for_a_pipe_or_follows_a_link_in_place_of_the_file(kept: Memory) -> None:
    kept.directory.mkdir(parents=True)
    os.mkfifo(kept.file())
    assert kept.load() == {}
    kept.file().unlink()
    kept.file().symlink_to("/dev/zero")
    assert kept.load() == {}
    assert kept.problems == [f"{str(kept.file())!r} is ignored: it is no ordinary file"]
    kept.memory.store(ORIGIN, IDLE)
    assert not kept.file().is_symlink()
    assert kept.load() == {"idle_limit": (75.0, "remembered")}


@pytest.mark.parametrize("place", ["under a file", "is a file", "file is a directory"])
def test_a_disk_that_will_not_have_it_fails_nothing_and_is_told_once(tmp_path: Path, place: str) -> None:
    blocked = tmp_path / "file"
    if place == "file is a directory":
        kept = Memory(tmp_path)
        kept.file().mkdir()
    else:
        blocked.touch()
        kept = Memory(blocked / "servers" if place == "under a file" else blocked)
    for _ in range(2):
        kept.memory.store(ORIGIN, IDLE)
    assert kept.load() == {}
    (told,) = [problem for problem in kept.problems if "cannot be kept" in problem]
    assert told.startswith(f"what was learned of the server cannot be kept in {str(kept.directory)!r}: ")
    assert len(kept.problems) <= 2
    assert [name for name in os.listdir(tmp_path) if name.endswith(".new")] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_fails_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    kept = Memory(tmp_path / "servers")
    kept.memory.store(ORIGIN, IDLE)
    assert len(kept.problems) == 1


def test_two_processes_at_once_leave_a_whole_file(kept: Memory) -> None:
    program = """
import sys
from pathlib import Path
from livepost.net.fact import Fact, Source, Subject
from livepost.net.origin import Origin
from livepost.net.origin_memory import OriginMemory
directory, value = sys.argv[1:]
memory = OriginMemory(Path(directory), lambda: 1_800_000_000.0, lambda problem: sys.exit(problem))
for n in range(300):
    facts = {Subject.IDLE_LIMIT: Fact(float(value), Source.LEARNED, 1_799_999_000.0 + n)}
    memory.store(Origin("https", "api.example.com", 443), facts)
    assert memory.load(Origin("https", "api.example.com", 443))[Subject.IDLE_LIMIT].value in (5.0, 7.0)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(kept.directory), value]) for value in ("5", "7")
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert kept.load()["idle_limit"][0] in (5.0, 7.0)
    assert os.listdir(kept.directory) == [kept.file().name]


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/livepost/servers"),
        ({"HOME": "/h"}, "/h/.cache/livepost/servers"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/livepost/servers"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/livepost/servers"),
        ({}, None),
        ({"HOME": "relative"}, None),
    ],
)
def test_where_the_files_are(environment: dict[str, str], directory: str | None) -> None:
    assert cache_directory(environment) == (None if directory is None else Path(directory))
