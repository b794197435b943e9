"""The project around the code: its requirements, its version, the size of its files."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import livepost

PROJECT = Path(__file__).parents[1]
REQUIREMENTS = sorted((PROJECT / "requirements").glob("*.txt"))
LONGEST_FILE_LINES = 400

_PINNED = re.compile(r"[a-z0-9-]+==[0-9][^ ]*( ; [^\\]+)?( --hash=sha256:[0-9a-f]{64})+")
_ADDRESS = re.compile(r"\S*://\S*|(?:^|\s)(?:--\S*(?:index|find-links)\S*|-[if]\b|file:|/\S+)", re.MULTILINE)


def unpinned(text: str) -> list[str]:
    """The requirements of this file that are not exactly `name==version ; marker --hash=… --hash=…`."""
    whole_lines = re.sub(r" \\\n +", " ", text).splitlines()
    requirements = [line for line in whole_lines if line.strip() and not line.lstrip().startswith("#")]
    return [line for line in requirements if not _PINNED.fullmatch(line)]


def addresses(text: str) -> list[str]:
    """What names a place to download from, or a place on the machine where the file was made."""
    return _ADDRESS.findall(text)


def test_there_are_four_files_of_requirements() -> None:
    assert [file.name for file in REQUIREMENTS] == ["bench.txt", "build.txt", "dev.txt", "run.txt"]


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_requirements_are_pinned_with_hashes_and_without_addresses(file: Path) -> None:
    text = file.read_text("utf-8")
    assert text.count("==") >= 5
    assert unpinned(text) == []
    assert addresses(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "rich",
        "rich==15.0.0",
        "rich>=15 --hash=sha256:" + "0" * 64,
        "rich==15.0.0 --hash=sha256:" + "0" * 63,
        "rich==15.0.0 --hash=md5:" + "0" * 32,
        "rich @ file.whl --hash=sha256:" + "0" * 64,
        "-e .",
    ],
)
def test_a_requirement_that_is_not_pinned_is_found(line: str) -> None:
    assert unpinned(f"# comment\n{line}\n") == [line]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.com/simple",
        "--extra-index-url=there",
        "-i there",
        "--find-links wheels",
        "rich @ https://example.com/rich.whl",
        "    # via -r /home/me/run.in",
    ],
)
def test_an_address_is_found(line: str) -> None:
    assert addresses(f"rich==15.0.0\n{line}\n") != []


def test_the_version_is_that_of_the_installed_package() -> None:
    assert livepost.__version__ == importlib.metadata.version("livepost")


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import livepost; print(*sorted(set(sys.modules) - before))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["livepost"]


def test_no_source_file_is_too_long_to_hold_in_the_head() -> None:
    lines = {
        str(file.relative_to(PROJECT)): len(file.read_text("utf-8").splitlines())
        for file in (PROJECT / "src").rglob("*.py")
    }
    assert len(lines) >= 20
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE_LINES} == {}
