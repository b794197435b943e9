from __future__ import annotations

import subprocess
import sys

import pytest
from command import environment

from livepost import __version__
from livepost.cli import main as module
from livepost.cli.main import main
from livepost.errors import (
    ConfigurationError,
    InputChangedError,
    InputError,
    LivepostError,
    OutputError,
    RunError,
)


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_data(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main([flag]) == 0
    assert capsys.readouterr() == (f"livepost {__version__}\n", "")


def test_the_version_is_told_without_loading_the_engine() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "livepost", "--version"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "livepost.cli.main" in imported
    assert imported.isdisjoint(
        {"asyncio", "ssl", "socket", "argparse", "msgspec", "rich", "uvloop", "typing"}
    )


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_is_data_and_names_every_command(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main([flag]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert max(map(len, shown.out.splitlines())) <= 80
    for command in module._COMMANDS:
        assert f"\n  {command} " in shown.out


def test_without_a_command_the_help_is_talk_and_the_code_that_of_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: livepost COMMAND")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sned", "there is no command sned; did you mean send?"),
        ("server", "there is no command server; did you mean serve?"),
        ("fly", "there is no command fly"),
        ("--verison", "there is no command --verison"),
        ("", "there is no command "),
    ],
)
def test_a_command_that_does_not_exist(capsys: pytest.CaptureFixture[str], name: str, said: str) -> None:
    assert main([name]) == 2
    assert capsys.readouterr() == ("", f"livepost: {said}\n  hint: see livepost --help\n")


@pytest.mark.parametrize("url", ["http://us:s3cret@api.test/", "us:s3cret@api.test", "http://us:s3/cret@h"])
@pytest.mark.parametrize(
    "words",
    [
        ["URL"],
        ["send", "URL", "--to", "http://api.test/"],
        ["send", "-", "--to", "http://api.test/", "--connections", "URL"],
        ["send", "-", "--to", "http://api.test/", "--json=URL"],
        ["send", "-", "--to", "http://api.test/", "--max-time", "URL"],
        ["send", "-", "--to", "http://api.test/", "--progress", "URL"],
        ["send", "-", "--to", "http://api.test/", "--cacert", "URL", "--key", "URL"],
        ["send", "-", "--to", "http://api.test/", "-H", "@URL"],
        ["send", "-", "--to", "http://api.test/", "--resolve", "URL"],
        ["send", "-", "--to", "http://api.test/", "--run", "/dev/null/URL"],
        ["probe", "http://api.test/", "URL"],
        ["serve", "URL"],
        ["serve", "--fail", "URL"],
        ["serve", "--latency", "URL"],
        ["serve", "--profile", "URL"],
        ["demo", "URL"],
        ["show", "URL"],
        ["resume", "URL"],
        ["retry", "--rejected", "URL"],
    ],
    ids=" ".join,
)
def test_a_password_in_the_wrong_place_is_not_said(
    capfd: pytest.CaptureFixture[str], words: list[str], url: str
) -> None:
    assert main([word.replace("URL", url) for word in words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "s3" not in err
    assert "cret" not in err


@pytest.mark.parametrize("command", module._COMMANDS)
def test_every_command_has_help_that_fits_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: livepost {command}")
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ConfigurationError("it is wrong", "make it right"),
            2,
            "livepost: it is wrong\n  hint: make it right\n",
        ),
        (OutputError("it is full"), 75, "livepost: it is full\n"),
        (RunError("it is damaged"), 2, "livepost: it is damaged\n"),
        (InputError("it cannot be read"), 75, "livepost: it cannot be read\n"),
        (InputChangedError("it is another"), 4, "livepost: it is another\n"),
        (LivepostError("it broke"), 1, "livepost: it broke\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_becomes_a_sentence_and_a_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(name: str, arguments: object) -> int:
        raise error

    monkeypatch.setattr(module, "_command", fail)
    assert main(["send"]) == code
    assert capsys.readouterr() == ("", said)


# SIGINT comes where the middle of the engine is imported.
INTERRUPTED_WHILE_IMPORTING = """\
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "livepost.deliver":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from livepost.cli.main import main
code = main(["send", "no-such-file", "--to", "http://localhost/"])
print(code, "livepost.cli.send" in sys.modules, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_an_import_is_finished_before_an_interrupt_comes() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING], env=environment(), capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "130 True set()\n", "")


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "_command", fail)
    with pytest.raises(ZeroDivisionError):
        main(["send"])
