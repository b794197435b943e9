"""What a run directory keeps of a command line: everything that is needed to go on, and no secret.

Kept are the options that were given.  Of headers only those whose values say nothing of anybody are kept,
and `@FILE` as it stands; of the URL neither user and password nor the query; of a proxy's URL no user and
password.  What is withheld is named, and must be given again.

The path of the URL is kept: it is shown everywhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from livepost.cli.options import DELIVERY_GROUPS
from livepost.cli.parser import collect
from livepost.config import InputOptions, RequestOptions
from livepost.errors import ConfigurationError, RunError
from livepost.policy import RetryOptions
from livepost.runs.manifest import Manifest
from livepost.target import Target, parse_target

# Headers whose values are never a secret.
_HARMLESS = frozenset(
    (
        *("accept", "accept-charset", "accept-encoding", "accept-language", "cache-control"),
        *("content-encoding", "content-language", "content-type", "expect", "from", "host", "origin"),
        *("prefer", "user-agent"),
    )
)

_FILES = ("cacert", "cert", "key", "unix_socket")

_OPTIONS: dict[str, Any] = {
    field.name: typing.get_type_hints(group)[field.name]
    for group in (*DELIVERY_GROUPS, InputOptions)
    for field in dataclasses.fields(group)
    if field.metadata.get("flags")
}
"""Type by name."""

_PROXY = "-x"
_USER = "a user in --to"
_QUERY = "a query in --to"
_HINTS = {_PROXY: "give -x again", _USER: "give --to again, with the user", _QUERY: "give --to again, whole"}


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `run.json`."""

    to: str
    files: tuple[str, ...]
    options: dict[str, Any]
    withheld: tuple[str, ...]


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
            withheld.append(_PROXY)
            continue
        elif name in _FILES:
            value = os.path.abspath(value)
        options[name] = value
    target = parse_target(given.to)
    if target.authorization is not None:
        withheld.append(_USER)
    if _has_query(target):
        withheld.append(_QUERY)
    return {"to": str(target), "files": list(given.files), "options": options, "withheld": withheld}


def sent_with(manifest: Manifest) -> list[tuple[RequestOptions, RetryOptions]]:
    """With which options something may have been sent so far.  Raises RunError if they make no sense."""
    kept = [argparse.Namespace(**_read(asked).options) for asked in (manifest.asked, *manifest.asked_since)]
    return [(collect(given, RequestOptions), collect(given, RetryOptions)) for given in kept]


def restore(asked: Mapping[str, Any], given: argparse.Namespace) -> argparse.Namespace:
    """What was asked when the run began, under what is given now.

    A header given now takes the place of a kept one of its name.  Raises ConfigurationError if something
    that was withheld is not given again, or another target is, and RunError if `asked` makes no sense.
    """
    then = _read(asked)
    headers = list(getattr(given, "headers", ()))
    if getattr(given, "to", None) is None:
        _check_given_again(then.withheld, given, None, headers)
        given.to = then.to
    else:
        target = parse_target(given.to)
        _check_same_target(then.to, target)
        _check_given_again(then.withheld, given, target, headers)
    given_names = {_name_of(line) for line in headers}
    for name, value in then.options.items():
        if name == "headers":
            given.headers = [*(line for line in value if _name_of(line) not in given_names), *headers]
        elif not hasattr(given, name):
            setattr(given, name, value)
    given.files = list(then.files)
    return given


def _read(asked: Mapping[str, Any]) -> _Asked:
    hint = "restore it from a copy, or begin a new run with what is left"
    try:
        then = msgspec.convert(asked, _Asked)
        unknown = next((name for name in then.options if name not in _OPTIONS), None)
        if unknown is not None:
            raise RunError(
                f"run.json names an unknown option {unknown!r}", "use the livepost that began the run"
            )
        for name, value in then.options.items():
            msgspec.convert(value, _OPTIONS[name])
        parse_target(then.to)
    except RunError:
        raise
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise RunError(f"run.json does not say what was asked: {error}", hint) from error
    return then


def _keep_headers(lines: Sequence[str], withheld: list[str]) -> list[str]:
    kept = []
    for line in lines:
        name, colon, value = line.partition(":")
        if line.startswith("@"):
            kept.append(f"@{os.path.abspath(line[1:])}")
        elif name.lower() in _HARMLESS or not colon or not value.strip():
            kept.append(line)
        else:
            withheld.append(f"-H {name}")
    return kept


def _name_of(line: str) -> str:
    """Of a header, in lower case; `Name;` is one, too."""
    return line.partition(":")[0].removesuffix(";").lower()


def _check_given_again(
    withheld: Sequence[str], given: argparse.Namespace, target: Target | None, headers: Sequence[str]
) -> None:
    names = {_name_of(line) for line in headers}
    reads_files = any(line.startswith("@") for line in headers)
    missing = []
    for what in withheld:
        if what == _PROXY:
            is_given = hasattr(given, "proxy")
        elif what == _QUERY:
            is_given = target is not None and _has_query(target)
        elif what == _USER:
            has_user = target is not None and target.authorization is not None
            is_given = has_user or reads_files or "authorization" in names
        else:
            is_given = reads_files or what.removeprefix("-H ").lower() in names
        if not is_given:
            missing.append(what)
    if len(missing) == 1:
        (what,) = missing
        raise ConfigurationError(
            f"the run was begun with {what}, which may hold a secret and is not kept",
            _HINTS.get(what, f"give {what} again"),
        )
    if missing:
        raise ConfigurationError(
            f"the run was begun with {', '.join(missing)}, which may hold secrets and are not kept",
            "give them again",
        )


def _check_same_target(then: str, now: Target) -> None:
    if str(now) != then:
        raise ConfigurationError(
            f"the run was begun for {then}, not {now}",
            "give the same URL, or begin a new run with what is left",
        )


def _has_query(target: Target) -> bool:
    return "?" in target.path
