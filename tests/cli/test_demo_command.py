from __future__ import annotations

import pytest

from livepost.cli import demo
from livepost.cli.main import main
from livepost.rehearsal.demo import Measured, compare


def test_the_demonstration_shows_answers_and_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def compare_few() -> tuple[Measured, Measured]:
        return await compare(640)

    monkeypatch.setattr(demo, "compare", compare_few)
    assert main(["demo"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[:8] == [
        "Three records, one live connection:",
        "",
        '  {"name": "John", "age": 30}',
        '    -> 201 {"id": 1, "connection": 1, "request_on_connection": 1}',
        '  {"name": "Lucy", "age": 25}',
        '    -> 201 {"id": 2, "connection": 1, "request_on_connection": 2}',
        '  {"name": "Mike", "age": 40}',
        '    -> 201 {"id": 3, "connection": 1, "request_on_connection": 3}',
    ]
    rows = {line[:31].strip(): line[31:].split() for line in lines[-4:]}
    assert rows["TCP handshakes (server's count)"] == ["640", "64", "10.0", "x", "fewer"]
    assert rows["handshakes per 1,000 records"] == ["1,000.0", "100.0", "10.0", "x", "fewer"]
    assert rows["records per connection"] == ["1.0", "10.0", "10.0", "x", "more"]
    assert rows["records/s"][3:] == ["x", "more"]
    assert max(map(len, lines)) <= 80


def test_the_table_is_exact() -> None:
    before = Measured("new each time", 20_000, 12.5, 20_000)
    after = Measured("live", 20_000, 2.0, 64)
    assert demo._table(before, after).splitlines() == [
        "connections                      new each time    live         factor",
        "records/s                                1,600  10,000     6.2 x more",
        "TCP handshakes (server's count)         20,000      64  312.5 x fewer",
        "handshakes per 1,000 records           1,000.0     3.2  312.5 x fewer",
        "records per connection                     1.0   312.5   312.5 x more",
    ]


def test_it_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--users", "3"]) == 2
    assert capsys.readouterr().err.startswith("livepost: there is no option --users\n")
