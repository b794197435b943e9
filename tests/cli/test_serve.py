from __future__ import annotations

import socket
from pathlib import Path

import pytest

from livepost.cli.fault_help import EXAMPLES, table_of_faults
from livepost.cli.main import main
from livepost.cli.profile_help import table_of_profiles


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert main(["serve", "--port", port]) == 2
    assert capsys.readouterr().err.startswith(f"livepost: there is no port {port}\n  hint: ")


def test_a_port_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "http"]) == 2
    assert capsys.readouterr().err.startswith("livepost: argument --port: 'http' is not a number\n  hint: ")


def test_a_port_that_is_taken_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert capsys.readouterr().err.startswith(f"livepost: port {port} is taken\n  hint: ")


def test_an_address_of_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "192.0.2.1", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("livepost: 192.0.2.1 is not an address of this machine\n")


def test_nothing_else_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "8080"]) == 2
    assert capsys.readouterr().err == (
        "livepost: there is nothing to be done with 8080\n  hint: see livepost serve --help\n"
    )


def test_a_mistyped_fault_is_refused_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--fail", "503", "--fail", "lat"]) == 2
    assert capsys.readouterr().err == (
        "livepost: --fail lat: there is no fault lat; did you mean late?\n  hint: see livepost serve --help\n"
    )


def test_a_log_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serve", "--port", "0", "--log", str(tmp_path)]) == 2
    assert "the log cannot be written to" in capsys.readouterr().err


def test_a_fault_that_cannot_be_over_http2_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--http2", "--fail", "cut-head:every=2"]) == 2
    assert capsys.readouterr().err.startswith(
        "livepost: --fail cut-head:every=2: cut-head cannot happen over HTTP/2, where a head is a whole "
        "frame\n  hint: "
    )


def test_a_certificate_that_is_missing_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serve", "--port", "0", "--tls-cert", str(tmp_path / "no.pem")]) == 2
    assert "no.pem cannot be used: no such file or directory\n  hint: " in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 80])
def test_help_keeps_to_the_width_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > columns and line[9:] not in EXAMPLES] == []


def test_help_explains_every_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    out = capsys.readouterr().out
    assert table_of_faults() in out
    assert table_of_profiles() in out
    for option in (
        *("--fail SPEC", "--fail-seed N", "--log FILE", "--idempotency"),
        *("--profile NAME", "--idle-timeout TIME", "--idle-ending HOW", "--max-requests N", "--max-age TIME"),
        *("--unannounced", "--max-streams N", "--latency TIME[+-TIME]", "--handshake-latency TIME"),
        "--clock-skew TIME",
        *("--tls ", "--tls-cert FILE", "--tls-key FILE", "--http2 "),
    ):
        assert option in out
