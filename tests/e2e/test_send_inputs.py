"""`livepost send` as a process: what it reads."""

from __future__ import annotations

import gzip
import json
import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import livepost, started

from livepost.rehearsal.request import RequestSeen
from livepost.rehearsal.server import PracticeServer

SAMPLES = [{"name": "John", "age": 30}, {"name": "Lucy", "age": 25}, {"name": "Mike", "age": 40}]


class Api:
    """A running practice server and what reached it."""

    def __init__(self) -> None:
        self.seen: queue.SimpleQueue[RequestSeen] = queue.SimpleQueue()
        self.server = PracticeServer(on_request=self.seen.put)

    @property
    def to(self) -> tuple[str, str]:
        return ("--to", f"{self.server.url}/api")

    def next(self) -> RequestSeen:
        return self.seen.get(timeout=30)

    def bodies(self) -> list[bytes]:
        """Those that came since last asked."""
        return [self.seen.get_nowait().body for _ in range(self.seen.qsize())]


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    with api.server.run_in_thread():
        yield api


def test_every_kind_of_file_is_delivered(api: Api, tmp_path: Path) -> None:
    users = tmp_path / "users.ndjson"
    users.write_bytes(b"".join(b'{"id": %d}\r\n\n' % number for number in range(1, 301)))
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps(SAMPLES, indent=2))
    single = tmp_path / "single.json"
    single.write_text('\ufeff{"name": "Zoë"}\n')
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(b'"first"\n') + gzip.compress(b'"second"'))

    ended = livepost("send", users, samples, single, packed, *api.to, "--connections", 1, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.summary["records"] == {
        "read": 306,
        "delivered": 306,
        "rejected": 0,
        "in_doubt": 0,
        "unsent": 0,
    }
    bodies = api.bodies()
    assert bodies[:300] == [b'{"id": %d}' % number for number in range(1, 301)]
    assert [json.loads(body) for body in bodies[300:]] == [*SAMPLES, {"name": "Zoë"}, "first", "second"]
    assert (api.server.stats.connections, api.server.stats.requests) == (1, 306)


def test_standard_input_is_ndjson_unless_told_otherwise(api: Api) -> None:
    ended = livepost("send", "-", *api.to, "--json", stdin=b'{"a": 1}\n{"a": 2}\n')
    assert (ended.code, api.bodies()) == (0, [b'{"a": 1}', b'{"a": 2}'])
    stdin = gzip.compress(json.dumps(SAMPLES).encode())
    ended = livepost("send", "-", *api.to, "--json", "--input-format", "json", stdin=stdin)
    assert ended.summary["records"]["delivered"] == 3


def test_records_of_a_slow_stream_are_delivered_as_they_come(api: Api) -> None:
    with started("send", "-", *api.to, "-o", "-") as command:
        for number in range(1, 4):
            command.write(b"%d\n" % number)
            assert api.next().body == b"%d" % number
        # Receipts come about once a second, while the stream stays open.
        assert [json.loads(command.read_out())["n"] for _ in range(3)] == [1, 2, 3]
        command.write(b"4\n")
        command.end_input()
        ended = command.ended()
    assert (ended.code, [receipt["n"] for receipt in ended.receipts]) == (0, [4])
    assert 1 <= api.server.stats.connections <= 3


def test_what_is_not_fit_to_send_is_rejected_with_its_line(api: Api, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.ndjson"
    long = json.dumps("x" * 2000).encode()
    mixed.write_bytes(b'{"ok": 1}\n\n{"broken": \n\xff\xfe\n' + long + b'\n\n{"ok": 2}\n')
    ended = livepost("send", mixed, *api.to, "--max-record-bytes", "1K", "--connections", 1, "-o", "-")
    assert ended.code == 1
    assert sorted(api.bodies()) == [b'{"ok": 1}', b'{"ok": 2}']
    receipts = {receipt["n"]: receipt for receipt in ended.receipts}
    assert {n: (receipt["outcome"], receipt["line"]) for n, receipt in sorted(receipts.items())} == {
        1: ("delivered", 1),
        2: ("rejected", 3),
        3: ("rejected", 4),
        4: ("rejected", 5),
        5: ("delivered", 7),
    }
    assert "JSON" in receipts[2]["reason"]
    assert "UTF-8" in receipts[3]["reason"]
    assert "1024" in receipts[4]["reason"]
    assert receipts[2]["source"] == str(mixed)
    assert ended.err.startswith("records     2 of 5 delivered, 3 rejected\n")


def test_a_record_of_five_megabytes_is_delivered_and_a_huge_one_rejected(api: Api, tmp_path: Path) -> None:
    large = b'"' + b"x" * 5_000_000 + b'"'
    file = tmp_path / "large.ndjson"
    file.write_bytes(b'"' + b"y" * 17 * 1024 * 1024 + b'"\n' + large + b"\n")
    ended = livepost("send", file, *api.to, "--json")
    assert ended.code == 1
    assert api.next().body == large
    summary = ended.summary
    assert (summary["records"]["delivered"], summary["records"]["rejected"]) == (1, 1)
    assert 5_000_000 < summary["bytes_sent"] < 5_001_000


def test_damage_in_the_middle_is_told_after_what_came_before_it_was_delivered(
    api: Api, tmp_path: Path
) -> None:
    lines = b"".join(b"%d\n" % number for number in range(20_000))
    file = tmp_path / "cut.ndjson.gz"
    file.write_bytes(gzip.compress(lines)[:3000])
    ended = livepost("send", file, *api.to, "--json")
    assert ended.code == 75
    assert "cut short" in ended.err
    assert "\n  hint: " in ended.err
    records = ended.summary["records"]
    assert records["read"] == records["delivered"] == len(api.bodies()) > 100


@pytest.mark.parametrize("name", ["/proc/self/mem", "/dev/fd/0"])
def test_a_file_that_cannot_be_read_after_all_stops_the_run(api: Api, name: str) -> None:
    """The first can be opened, but its first byte not read; the second is a pipe that ends at once."""
    ended = livepost("send", name, *api.to, "--json")
    if name == "/dev/fd/0":
        assert (ended.code, ended.err) == (0, "")
    else:
        assert ended.code == 75
        assert ended.err.startswith("livepost: cannot read /proc/self/mem: input/output error\n")
    assert ended.summary["records"]["read"] == api.server.stats.connections == 0
