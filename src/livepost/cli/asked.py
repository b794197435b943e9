"""What a run directory keeps of a command line: everything that is needed to go on, and no secret.

Kept are the options that were given.  Of headers only those whose values say nothing of anybody are kept,
and `@FILE` as it stands; of the URL neither user and password nor the query; of a proxy's URL no user and
password.  What is withheld is named, and must be given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from livepost.cli.options import DELIVERY_GROUPS
from livepost.config import InputOptions
from livepost.errors import ConfigurationError, RunError
from livepost.target import parse_target

# Headers whose values are never a secret.
_HARMLESS = frozenset(
    (
        *("accept", "accept-charset", "accept-encoding", "accept-language", "cache-control"),
        *("content-encoding", "content-language", "content-type", "expect", "from", "host", "origin"),
        *("prefer", "referer", "user-agent"),
    )
)

_FILES = ("cacert", "cert", "key", "unix_socket")

_OPTIONS = tuple(
    field.name
    for group in (*DELIVERY_GROUPS, InputOptions)
    for field in dataclasses.fields(group)
    if field.metadata.get("flags")
)


def keep(given: argparse.Namespace) -> dict[str, Any]:
    """The value for `run.json`."""
    options: dict[str, Any] = {}
    withheld: list[str] = []
    for name in _OPTIONS:
        if not hasattr(given, name):
            continue
        value = getattr(given, name)
        if name == "headers":
            value = _keep_headers(value, withheld)
        elif name == "proxy" and "@" in value:
            withheld.append("-x")
            continue
        elif name in _FILES and value is not None:
            value = os.path.abspath(value)
        options[name] = value
    target = parse_target(given.to)
    if target.authorization is not None or urlsplit(given.to).query:
        withheld.append("--to")
    return {"to": str(target), "files": list(given.files), "options": options, "withheld": withheld}


def restore(asked: Mapping[str, Any], given: argparse.Namespace) -> argparse.Namespace:
    """What was asked when the run began, under what is given now.

    Headers given now come behind those that were kept.  Raises ConfigurationError if something that was
    withheld is not given again, and RunError if `asked` makes no sense.
    """
    try:
        options = dict(asked["options"])
        to, files, withheld = (
            str(asked["to"]),
            [str(file) for file in asked["files"]],
            list(asked["withheld"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            "run.json does not say what was asked", "restore it from a copy, or begin a new run"
        ) from error
    if getattr(given, "to", None) is None and "--to" not in withheld:
        given.to = to
    _check_given_again(withheld, given)
    _check_same_target(to, given.to)
    for name, value in options.items():
        if name not in _OPTIONS:
            raise RunError(
                f"run.json names an unknown option {name!r}", "use the livepost that began the run"
            )
        if name == "headers":
            given.headers = [*value, *getattr(given, "headers", ())]
        elif not hasattr(given, name):
            setattr(given, name, value)
    given.files = files
    return given


def _keep_headers(lines: list[str], withheld: list[str]) -> list[str]:
    kept = []
    for line in lines:
        name = line.partition(":")[0].partition(";")[0].strip()
        if line.startswith("@"):
            kept.append(f"@{os.path.abspath(line[1:])}")
        elif name.lower() in _HARMLESS or line.rstrip().endswith((":", ";")):
            kept.append(line)
        else:
            withheld.append(f"-H {name}")
    return kept


def _check_given_again(withheld: list[str], given: argparse.Namespace) -> None:
    headers = {line.partition(":")[0].strip().lower() for line in getattr(given, "headers", ())}
    reads_files = any(line.startswith("@") for line in getattr(given, "headers", ()))
    for what in withheld:
        if what.startswith("-H "):
            is_given = reads_files or what[3:].lower() in headers
        else:
            is_given = getattr(given, "proxy" if what == "-x" else "to", None) is not None
        if not is_given:
            raise ConfigurationError(
                f"the run was begun with {what}, which may hold a secret and is not kept",
                f"give {what} again",
            )


def _check_same_target(then: str, now: str) -> None:
    if str(parse_target(now)) != then:
        raise ConfigurationError(
            f"the run was begun for {then}, not {parse_target(now)}",
            "give the same URL, or begin a new run with what is left",
        )
