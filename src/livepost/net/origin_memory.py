"""What was learned of servers, kept for later runs in the user's cache directory: one small file each.

`$XDG_CACHE_HOME/livepost/servers/https-api.example.com-443-….json`, by default under `~/.cache`, readable by
the user only.  It holds scheme, host and port of the server, and facts with their dates.  A fact is good for
seven days.

It is a cache: a file that is damaged is as good as none, and where none can be written nothing is kept.  A
file is replaced as a whole; of two processes at once the later takes over what the other had written, fact by
fact the newer.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from livepost.net.fact import Fact, Source, Subject
from livepost.net.origin import Origin

KEPT_SECONDS = 7 * 86_400.0

_VERSION = 1
_DIRECTORY_MODE = 0o700
_LONGEST_FILE_BYTES = 65_536
_LONGEST_NAME = 100
_UNUSUAL = re.compile(r"[^A-Za-z0-9.-]")
# What another clock may be ahead of ours.
_AHEAD_SECONDS = 300.0

Facts = Mapping[Subject, Fact]


class _DamagedError(ValueError):
    """The file is not what `store` writes."""


def cache_directory(environment: Mapping[str, str]) -> Path | None:
    """Where the files are, by the XDG Base Directory Specification; None if there is no home."""
    cache = environment.get("XDG_CACHE_HOME", "")
    # "All paths set in these environment variables must be absolute"; others are to be ignored.
    if not os.path.isabs(cache):
        home = environment.get("HOME", "")
        if not os.path.isabs(home):
            return None
        cache = os.path.join(home, ".cache")
    return Path(cache, "livepost", "servers")


class OriginMemory:
    """Loads and stores facts, in a `directory` that is made when needed.

    No method raises for what the disk does.  `on_problem(sentence)` is called with the first problem of
    each kind, for a person to see.  `wall_clock` gives seconds since 1970.
    """

    def __init__(
        self, directory: Path, wall_clock: Callable[[], float], on_problem: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._wall_clock = wall_clock
        self._on_problem = on_problem
        self._told: set[str] = set()

    def path(self, origin: Origin) -> Path:
        """The file about this origin."""
        name = _UNUSUAL.sub("-", f"{origin.scheme}-{origin.host}-{origin.port}")
        digest = hashlib.sha256(str(origin).encode("utf-8", "surrogateescape")).hexdigest()
        return self._directory / f"{name[:_LONGEST_NAME]}-{digest[:16]}.json"

    def load(self, origin: Origin) -> dict[Subject, Fact]:
        """What is remembered and still good, each with the source REMEMBERED; also what is CONTRADICTED."""
        return {
            subject: fact
            if fact.source is Source.CONTRADICTED
            else Fact(fact.value, Source.REMEMBERED, fact.at)
            for subject, fact in self._read(origin).items()
        }

    def store(self, origin: Origin, facts: Facts) -> None:
        """Keep these facts, and of those that are there what is not older than them."""
        merged = self._read(origin)
        for subject, fact in facts.items():
            # What was only remembered is there, unless someone has found out better.
            if fact.source not in (Source.REMEMBERED, Source.DEFAULT) and (
                subject not in merged or merged[subject].at <= fact.at
            ):
                merged[subject] = fact
        if not merged:
            return
        content = {
            "version": _VERSION,
            "server": str(origin).encode("utf-8", "replace").decode(),
            "facts": {subject.value: _to_json(fact) for subject, fact in merged.items()},
        }
        try:
            self._make_directory()
            self._replace(self.path(origin), json.dumps(content, indent=1).encode() + b"\n")
        except OSError as error:
            self._tell(
                "write", f"what was learned of the server cannot be kept in {self._shown}: {_words(error)}"
            )

    @property
    def _shown(self) -> str:
        return repr(str(self._directory))

    def _read(self, origin: Origin) -> dict[Subject, Fact]:
        try:
            content = _read_file(self.path(origin))
            if content is None:
                return {}
            return self._still_good(_from_json(content, str(origin).encode("utf-8", "replace").decode()))
        except _DamagedError as error:
            self._tell("damage", f"{str(self.path(origin))!r} is ignored: {error}")
        except OSError as error:
            self._tell("read", f"what is known of the server cannot be read: {_words(error)}")
        return {}

    def _still_good(self, facts: Facts) -> dict[Subject, Fact]:
        now = self._wall_clock()
        return {
            subject: fact
            for subject, fact in facts.items()
            if now - KEPT_SECONDS < fact.at <= now + _AHEAD_SECONDS
        }

    def _make_directory(self) -> None:
        missing = []
        directory = self._directory
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for directory in reversed(missing):
            directory.mkdir(_DIRECTORY_MODE, exist_ok=True)

    def _replace(self, path: Path, content: bytes) -> None:
        # Made with mode 0600 and under a name that no other process has.
        file, new = tempfile.mkstemp(prefix=".", suffix=".new", dir=self._directory)
        try:
            with open(file, "wb") as stream:
                stream.write(content)
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise

    def _tell(self, kind: str, sentence: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._on_problem(sentence)


def _read_file(path: Path) -> bytes | None:
    """None if there is no such file.  Raises _DamagedError for what is none of ours; never waits."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _DamagedError("it is a link") from None
        raise
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _DamagedError("it is no ordinary file")
        content = stream.read(_LONGEST_FILE_BYTES + 1)
    if len(content) > _LONGEST_FILE_BYTES:
        raise _DamagedError("it is too long")
    return content


def _to_json(fact: Fact) -> dict[str, Any]:
    at = datetime.fromtimestamp(fact.at, UTC).isoformat(timespec="milliseconds")
    return {"value": fact.value, "source": fact.source.value, "at": at}


def _from_json(content: bytes, server: str) -> dict[Subject, Fact]:
    """Facts of a file; those about what is not known here are left out.  Raises _DamagedError."""
    try:
        found = json.loads(content)
        if found["version"] != _VERSION:
            raise _DamagedError("it is of another version of livepost")
        if found["server"] != server:
            raise _DamagedError("it is about another server")
        facts = {Subject(name): _fact(value) for name, value in found["facts"].items() if name in _SUBJECTS}
    except _DamagedError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise _DamagedError("it is damaged") from None
    return facts


_SUBJECTS = frozenset(subject.value for subject in Subject)


def _fact(value: Any) -> Fact:
    number = value["value"]
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
        raise ValueError(number)
    at = datetime.fromisoformat(value["at"])
    if at.tzinfo is None:
        raise ValueError(at)
    return Fact(float(number), Source(value["source"]), at.timestamp())


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
