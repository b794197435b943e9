"""Where records come from."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Protocol

import msgspec

from livepost.config import InputOptions
from livepost.errors import ConfigurationError
from livepost.model import Record, Rejection
from livepost.records.array import JsonReader
from livepost.records.batching import in_batches
from livepost.records.blocks import STANDARD_INPUT, InputFile, next_block_bytes
from livepost.records.letters import LetterReader
from livepost.records.ndjson import NdjsonReader
from livepost.records.validate import defect

_READERS: Mapping[str, type[NdjsonReader | JsonReader | LetterReader]] = {
    "ndjson": NdjsonReader,
    "json": JsonReader,
    "letters": LetterReader,
}


class Source(Protocol):
    """Gives records once, in the order of their numbers, which run from 1 without a gap."""

    @property
    def bytes_total(self) -> int | None:
        """Size of the whole input; None while it is not known."""

    @property
    def bytes_read(self) -> int:
        """How much of that has been read; may be asked from another thread."""

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield the records in lists that are not empty; may block.  Raises InputError.

        Whoever takes them closes the generator, which closes what it has open.
        """


class FileSource:
    """The records of some files, one file after the other.

    Names ending in `.json` or `.json.gz` hold one array or value; all others, and standard input
    (`-`), hold one record per line; `options.input_format` overrides that, and says whether the lines are
    the letters of a run that hold the records.  Numbers run on over the files, lines start again in each.

    Call `check` before `batches`.
    """

    def __init__(self, paths: Sequence[str], options: InputOptions) -> None:
        self._files = [InputFile(path) for path in paths]
        self._options = options
        self.bytes_total: int | None = None
        """Known after `check`, if all are regular files."""
        self._reading: tuple[int, InputFile | None] = (0, None)
        """The file that is being read, and the bytes of those before it: there may be very many."""

    @property
    def bytes_read(self) -> int:
        """Before decompression."""
        before, file = self._reading
        return before if file is None else before + file.bytes_read

    def check(self) -> None:
        """Make sure that every file can be opened, and is named once.  Raises ConfigurationError."""
        sizes = [file.check() for file in self._files]
        self._check_named_once()
        known = [size for size in sizes if size is not None]
        self.bytes_total = sum(known) if len(known) == len(sizes) else None

    def _check_named_once(self) -> None:
        seen: dict[tuple[int, int] | None, InputFile] = {}
        for file in self._files:
            earlier = seen.setdefault(file.identity, file)
            if earlier is file:
                continue
            if earlier.path == file.path == STANDARD_INPUT:
                raise ConfigurationError(
                    "standard input is named twice", "name - once: it can be read only once"
                )
            also = "" if file.path == earlier.path else f", the second time as {file.name}"
            raise ConfigurationError(
                f"{earlier.name} is named twice{also}",
                "name it once, or each of its records is sent twice; if that is wanted, copy it",
            )

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        """Yield the records of each block as soon as it is read.

        Raises InputError when a file cannot be read (any further); what came before it was yielded.
        """
        number = 1
        for file in self._files:
            self._reading = (self.bytes_read, file)
            reader = self._reader(file.path, number)
            with closing(file.blocks()) as blocks:
                for block in blocks:
                    batch = reader.feed(block)
                    file.block_bytes = next_block_bytes(len(block), len(batch))
                    if batch:
                        yield batch
                    if reader.stopped:
                        break
            if batch := reader.finish():
                yield batch
            number = reader.next_number

    def _reader(self, path: str, first_number: int) -> NdjsonReader | JsonReader | LetterReader:
        input_format = self._options.input_format
        if input_format == "auto":
            input_format = "json" if path.lower().endswith((".json", ".json.gz")) else "ndjson"
        reader = _READERS[input_format]
        return reader(path, first_number=first_number, max_record_bytes=self._options.max_record_bytes)


class ObjectSource:
    """Records made from Python objects, each encoded as JSON the way msgspec does it.

    That covers str, int, float, bool, None, dict, list, tuple, datetime, Decimal, UUID, dataclasses and
    more; a NaN becomes null.  `bytes` are taken for JSON and pass through as they are.  What cannot be
    encoded, or is not valid JSON, becomes a Rejection; its line is its number.

    An object is sent as soon as it has come, however long the next one takes: so an iterable that stays
    open, such as `iter(queue.get, None)`, keeps the run's connections alive in between.  The iterable is used
    in a thread of its own, a few times `batch_records` ahead: where a run ends early, what was taken and not
    yet read is lost, and no result tells of it.  What the iterable raises ends the batches and is passed on.
    """

    bytes_total = None

    def __init__(self, objects: Iterable[object], name: str = "objects", *, batch_records: int = 500) -> None:
        self._objects = objects
        self._name = name
        self._batch_records = batch_records
        self.bytes_read = 0

    def batches(self) -> Generator[list[Record | Rejection], None, None]:
        # Encoded before the next is asked for: whoever makes them may use the same object again.
        encoded = (self._encode(number, value) for number, value in enumerate(self._objects, 1))
        yield from in_batches(encoded, self._batch_records)

    def _encode(self, number: int, value: object) -> Record | Rejection:
        try:
            body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        except RecursionError:
            return self._reject(number, "cannot be encoded as JSON: nested too deeply")
        except (TypeError, ValueError, OverflowError) as error:
            return self._reject(number, f"cannot be encoded as JSON: {error}")
        if body is value and (reason := defect(body)):
            return self._reject(number, reason)
        self.bytes_read += len(body)
        return Record(number, body, self._name, number)

    def _reject(self, number: int, reason: str) -> Rejection:
        return Rejection(number, self._name, number, reason)
