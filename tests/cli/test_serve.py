from __future__ import annotations

import socket

import pytest

from livepost.cli.main import main


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert main(["serve", "--port", port]) == 2
    assert capsys.readouterr().err.startswith(f"livepost: there is no port {port}\n  hint: ")


def test_a_port_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "http"]) == 2
    assert capsys.readouterr().err.startswith(
        "livepost: argument --port: invalid int value: 'http'\n  hint: "
    )


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
