"""The file `run.json`: what a run is, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import msgspec

from livepost.errors import RunError
from livepost.runs.disk import reading, replace_file
from livepost.runs.fingerprint import Fingerprint

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run came to its end."""

    time: datetime
    how: str
    """In a few words for people."""
    counts: Mapping[str, int]
    """Records by what became of them."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the file.  Never holds a secret: `asked` is given without."""

    format: int = FORMAT
    id: UUID
    livepost: str
    """Version that began the run."""
    created: datetime
    asked: Mapping[str, Any]
    """The options, in whatever JSON their owner can read again."""
    asked_since: tuple[Mapping[str, Any], ...] = ()
    """What was asked of later processes of the run, where that was something else."""
    inputs: tuple[Fingerprint, ...] = ()
    keeps_input: bool = False
    """The records are in the run directory, because the input cannot be read twice."""
    records: int | None = None
    """How many there are in the input; None until it was read to its end."""
    ended: Ended | None = None
    """None while the run is going on, and after a crash."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises RunError if there is no such file, or none that this version understands."""
        with reading(path):
            content = path.read_bytes()
        try:
            # Not msgspec's reader, which refuses the names of files that are not UTF-8.
            document = json.loads(content)
            version = document.get("format") if isinstance(document, dict) else None
            if isinstance(version, int) and version > FORMAT:
                raise RunError(
                    f"{str(path)!r} was written by a newer livepost (format {version})",
                    "install that version",
                )
            manifest = msgspec.convert(document, cls)
        except (ValueError, RecursionError) as error:
            raise RunError(
                f"{str(path)!r} is damaged: {error}", "restore it from a copy, or begin a new run"
            ) from error
        if manifest.format != FORMAT:
            raise RunError(f"{str(path)!r} has the unknown format {manifest.format}", "begin a new run")
        return manifest

    def write(self, path: Path) -> None:
        """Replace the file so that a crash leaves the old or the new.  Raises OSError."""
        document = msgspec.to_builtins(self)
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        try:
            content = text.encode()
        except UnicodeEncodeError:
            content = json.dumps(document, indent=1).encode() + b"\n"
        replace_file(path, content)
