"""Delivers under random faults, kills and options for as long as wanted, and checks every run.

Run: .venv/bin/python benchmarks/soak.py --minutes 10.  Each round starts a practice server that fails in
ways that are drawn by lot, sends it a drawn number of records with drawn options, kills or stops the command
at drawn moments, and resumes it until nothing is left.  Then the marks, the letters and the summaries of the
run are compared with the server's own log.  The seed is printed first; --seed SEED draws the same again, and
--round N of it only that round (moments depend on the machine, too).

Exit code 1 at the first run that breaks a promise; its directory is kept and named.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, Any

COMMAND = (sys.executable, "-m", "livepost")
HEADER_BYTES = 4096
PATIENCE_SECONDS = 120.0
MOST_ATTEMPTS = 40
GROUPS = 7
LEFT_ALONE = "left alone"

# Each with the chance that a round has it.
FAULTS = (
    (0.3, "503:p=0.01"),
    (0.1, "503:retry-after=1:from=150:for=3"),
    (0.1, "429:ratelimit=ietf:reset=1:from=100:for=2"),
    (0.2, "408:p=0.005"),
    (0.3, "422:p=0.02"),
    (0.1, "413:early:p=0.01"),
    (0.2, "500:p=0.01"),
    (0.1, "502:processed=yes:p=0.01"),
    (0.1, "reset-on-accept:p=0.2"),
    (0.1, "close-on-accept:p=0.2"),
    (0.2, "reset-before-reading:p=0.01"),
    (0.1, "close-before-reading:p=0.01"),
    (0.1, "reset-after-reading:p=0.01"),
    (0.2, "close-after-reading:p=0.01"),
    (0.3, "reset-after-processing:p=0.01"),
    (0.2, "close-after-processing:p=0.01"),
    (0.1, "never:p=0.002"),
    (0.1, "cut-head:p=0.01"),
    (0.1, "cut-body:p=0.01"),
    (0.1, "garbage:p=0.01"),
    (0.1, "trickle:p=0.01:interval=0s"),
    (0.3, "announce-close:p=0.02"),
    (0.3, "close-after-answer:p=0.02"),
    (0.1, "reset-after-answer:p=0.01"),
    (0.1, "outage:from=400ms:for=300ms"),
    (0.1, "refuse:from=300ms:for=200ms"),
    (0.5, "late:p=0.5:delay=3ms"),
)

SAFE = {"--at-least-once", "-XPUT", "--idempotency-key"}


class ViolationError(Exception):
    """A promise that livepost did not keep."""


@dataclass(slots=True)
class Round:
    """What was drawn for one run, and what came of it."""

    random: Random
    directory: Path
    faults: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    kind: str = "ndjson"
    records: int = 0
    unfit: set[int] = field(default_factory=set)
    interruptions: int = 0
    in_flight_at_kills: int = 0
    history: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def input(self) -> Path:
        return self.directory / f"in.{self.kind}"

    @property
    def by_stdin(self) -> bool:
        return self.kind == "stdin"

    @property
    def is_safe(self) -> bool:
        return not SAFE.isdisjoint(self.options)

    @property
    def has_begun(self) -> bool:
        return (self.run / "run.json").exists()

    def marks(self) -> str:
        content = (self.run / "states").read_bytes()[HEADER_BYTES:]
        return content.rstrip(b"\0").replace(b"\0", b"-").decode("ascii")

    def log_entries(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []

    def requests(self) -> int:
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0


def draw(random: Random, directory: Path) -> Round:
    drawn = Round(random, directory)
    drawn.faults = [fault for chance, fault in FAULTS if random.random() < 0.7 * chance]
    drawn.options = ["--connections", str(random.choice((1, 2, 4, 8, 16))), "--max-time", "500ms"]
    policy = random.choice(["", *sorted(SAFE)])
    if policy:
        drawn.options.append(policy)
    order = random.choice(("", "", "", "--ordered", "--order-key"))
    if order:
        drawn.options += [order, "/group"] if order == "--order-key" else [order]
        drawn.options += ["--on-key-failure", random.choice(("skip", "stop"))]
    if random.random() < 0.2:
        drawn.options += ["--rate", f"{random.choice((300, 1000))}/s"]
    drawn.options += ["--retry", str(random.choice((0, 3, 10))), "--give-up-after", "5s"]
    drawn.kind = random.choice(("ndjson", "ndjson.gz", "json", "stdin", "stdin"))
    drawn.records = random.randint(0, 20) if random.random() < 0.2 else random.randint(100, 1500)
    may_be_unfit = drawn.kind != "json" and random.random() < 0.3
    drawn.unfit = {n for n in range(1, drawn.records + 1) if may_be_unfit and random.random() < 0.02}
    return drawn


def write_input(drawn: Round) -> list[bytes]:
    random = drawn.random
    padding = random.choice((0, 0, 500, 3000))
    lines = [
        b'{"id": %d\n' % n
        if n in drawn.unfit
        else b'{"id": %d, "group": %d, "text": "%s"}\n' % (n, n % GROUPS, b"x" * random.randint(0, padding))
        for n in range(1, drawn.records + 1)
    ]
    content = b"".join(lines)
    if drawn.kind == "json":
        content = b"[" + b",".join(lines) + b"]"
    drawn.input.write_bytes(gzip.compress(content) if drawn.kind.endswith("gz") else content)
    return lines


class Server:
    """The practice server of a round."""

    def __init__(self, drawn: Round) -> None:
        arguments = [
            "--port",
            "0",
            "--log",
            str(drawn.log),
            "--fail-seed",
            str(drawn.random.randrange(10**6)),
        ]
        for fault in drawn.faults:
            arguments += ["--fail", fault]
        if "--idempotency-key" in drawn.options:
            arguments.append("--idempotency")
        self._process = subprocess.Popen([*COMMAND, "serve", *arguments], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        announced = self._process.stderr.readline()
        found = re.search(r"http://\S+/api", announced)
        if found is None:
            raise RuntimeError(f"the server did not start: {announced}")
        self.to = found[0]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def play(drawn: Round) -> None:
    """Begin the run, interrupt it and go on until nothing is left.  Raises ViolationError."""
    lines = write_input(drawn)
    server = Server(drawn)
    try:
        most = drawn.random.choice((0, 1, 3, 5, 8))
        for _ in range(MOST_ATTEMPTS):
            if attempt(drawn, server.to, lines, is_interrupted=drawn.interruptions < most):
                break
        else:
            raise ViolationError(f"the run did not come to its end in {MOST_ATTEMPTS} attempts")
    finally:
        server.close()
    check(drawn)


def attempt(drawn: Round, to: str, lines: list[bytes], *, is_interrupted: bool) -> bool:
    """Run a command; True if it came to its end and left nothing."""
    feeds = drawn.by_stdin and not drawn.has_begun
    if drawn.has_begun:
        arguments = ["resume", str(drawn.run)]
        if not is_interrupted and "stop" in drawn.options:
            # Or what comes after a record that was rejected is never sent.
            arguments += ["--on-key-failure", "skip"]
    else:
        source = "-" if feeds else str(drawn.input)
        arguments = ["send", source, "--to", to, "--run", str(drawn.run), *drawn.options]
    with (drawn.directory / "stderr").open("ab") as errors:
        process = subprocess.Popen(
            [*COMMAND, *arguments, "--json", "--progress", "none"],
            stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    feeder = threading.Thread(target=feed, args=(process.stdin, lines)) if feeds else None
    if feeder is not None:
        feeder.start()
    try:
        how = interrupt(drawn, process) if is_interrupted else LEFT_ALONE
        assert process.stdout is not None
        try:
            code = process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise ViolationError(f"{arguments[0]}, {how}, hangs") from None
        out = process.stdout.read()
    finally:
        process.kill()
        process.wait()
        if feeder is not None:
            feeder.join()
    drawn.history.append(f"{arguments[0]}, {how}: {code}")
    if code == -signal.SIGKILL and drawn.has_begun:
        drawn.in_flight_at_kills += drawn.marks().count("F")
    # A signal that comes before livepost listens has Python's own end: 1 or that of the signal.
    elif code not in (0, 1, 3, 75, 130, 143, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM):
        raise ViolationError(f"the exit code is {code}")
    if out:
        counts = json.loads(out)["records"]
        if counts["read"] != sum(counts.values()) - counts["read"]:
            raise ViolationError(f"the four do not add up: {counts}")
    return code in (0, 1) and how == LEFT_ALONE


def feed(stdin: IO[bytes], lines: list[bytes]) -> None:
    try:
        with stdin:
            for start in range(0, len(lines), 50):
                stdin.write(b"".join(lines[start : start + 50]))
                stdin.flush()
                time.sleep(0.003)
    except BrokenPipeError:
        pass


def interrupt(drawn: Round, process: subprocess.Popen[bytes]) -> str:
    """Wait for a moment and end it in some way; say which."""
    random = drawn.random
    ends_at = time.monotonic() + random.choice((random.uniform(0.0, 0.3), random.uniform(0.2, 3.0)))
    wanted = drawn.requests() + random.choice((1, random.randint(1, 100), random.randint(1, 1000)))
    while process.poll() is None and time.monotonic() < ends_at and drawn.requests() < wanted:
        time.sleep(0.002)
    if process.poll() is not None:
        return LEFT_ALONE
    drawn.interruptions += 1
    number = random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM))
    process.send_signal(number)
    if number != signal.SIGKILL and random.random() < 0.5:
        time.sleep(random.uniform(0.0, 0.02))
        process.send_signal(number)
        return f"{number.name} twice"
    return number.name


def check(drawn: Round) -> None:
    """Compare the run with the server's log.  Raises ViolationError."""
    # One of KeyboardInterrupt is of Python, while it starts.
    raised = re.findall(r"^Traceback.*\n(?: .*\n)*(.*)", (drawn.directory / "stderr").read_text(), re.M)
    expect(all(name == "KeyboardInterrupt" for name in raised), f"there is a traceback: {raised}")
    marks = drawn.marks()
    if not drawn.by_stdin and len(marks) != drawn.records:
        raise ViolationError(f"{len(marks)} records have a mark, but there are {drawn.records}")
    by_mark = {
        mark: {number for number, found in enumerate(marks, 1) if found == mark} for mark in set(marks)
    }
    expect(not by_mark.keys() - set("DRQ"), f"there are other marks than final ones: {sorted(by_mark)}")
    delivered, rejected, in_doubt = (by_mark.get(mark, set()) for mark in "DRQ")
    entries = drawn.log_entries()
    processed = Counter(entry["record"] for entry in entries if entry["processed"])
    expect(not delivered - processed.keys(), "delivered, but never processed", delivered - processed.keys())
    lost = processed.keys() - delivered - in_doubt
    expect(not lost, "processed, but neither delivered nor in doubt", lost)
    expect(not rejected & processed.keys(), "processed, but rejected", rejected & processed.keys())
    unfit = {number for number in drawn.unfit if number <= len(marks)}
    expect(unfit <= rejected, "unfit, but not rejected", unfit - rejected)
    expect(letters(drawn, "rejected.ndjson") == rejected, "the letters of the rejected are others")
    expect(letters(drawn, "in-doubt.ndjson") == in_doubt, "the letters of those in doubt are others")
    repeated = {number for number, count in processed.items() if count > 1}
    if "--idempotency-key" in drawn.options:
        check_keys(entries)
    if not drawn.is_safe or "--idempotency-key" in drawn.options:
        expect(not repeated, "processed twice", repeated)
    else:
        # An answer that a fault took away, or that came too late.
        troubled = sum(entry["processed"] and entry["fault"] is not None for entry in entries)
        more = processed.total() - len(processed)
        expect(more <= drawn.in_flight_at_kills + troubled, f"{more} were processed again, without a reason")
    check_order(drawn, [entry["record"] for entry in entries if entry["processed"]])


def check_keys(entries: list[Any]) -> None:
    keys: dict[Any, set[str]] = {}
    for entry in entries:
        if entry["record"] is not None:
            keys.setdefault(entry["record"], set()).add(entry["key"])
    expect(all(len(found) == 1 for found in keys.values()), "a record had more than one key")
    expect(len(set().union(*keys.values())) == len(keys), "two records had the same key")


def check_order(drawn: Round, numbers: list[int]) -> None:
    firsts = list(dict.fromkeys(numbers))
    if "--ordered" in drawn.options:
        expect(firsts == sorted(firsts), "the order was not kept")
    if "--order-key" in drawn.options:
        for group in range(GROUPS):
            found = [number for number in firsts if number % GROUPS == group]
            expect(found == sorted(found), f"the order of key {group} was not kept")


def letters(drawn: Round, name: str) -> set[int]:
    path = drawn.run / name
    return {json.loads(line)["n"] for line in path.read_bytes().splitlines()} if path.exists() else set()


def expect(holds: bool, what: str, numbers: set[int] | None = None) -> None:
    if not holds:
        shown = f": {sorted(numbers)[:10]}" if numbers else ""
        raise ViolationError(what + shown)


def describe(drawn: Round) -> str:
    marks = drawn.marks() if drawn.has_begun else ""
    return (
        f"{drawn.records} records ({drawn.kind}), {drawn.interruptions} interruptions, "
        f"{len(drawn.history)} commands: "
        f"{marks.count('D')} delivered, {marks.count('R')} rejected, {marks.count('Q')} in doubt"
    )


def tell(drawn: Round, number: int, seed: int, error: ViolationError) -> None:
    print(
        f"\nround {number}: {error}",
        f"  options  {' '.join(drawn.options)}",
        f"  faults   {' '.join(drawn.faults) or 'none'}",
        *(f"  {line}" for line in drawn.history),
        f"  {describe(drawn)}",
        f"  kept in {drawn.directory}",
        f"  again: --seed {seed} --round {number}",
        sep="\n",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--round", type=int, help="only this one")
    parser.add_argument("--directory", type=Path, help="where the runs are (default: a temporary one)")
    arguments = parser.parse_args()
    os.environ |= {"no_proxy": "*", "COLUMNS": "80"}
    parent = Path(tempfile.mkdtemp(prefix="soak-", dir=arguments.directory))
    print(f"seed {arguments.seed}", flush=True)
    ends_at = time.monotonic() + 60 * arguments.minutes
    number = arguments.round or 1
    while True:
        directory = parent / str(number)
        directory.mkdir()
        drawn = draw(Random(f"{arguments.seed} {number}"), directory)
        try:
            play(drawn)
        except ViolationError as error:
            tell(drawn, number, arguments.seed, error)
            return 1
        print(f"round {number}: {describe(drawn)}", flush=True)
        shutil.rmtree(directory)
        if arguments.round is not None or time.monotonic() >= ends_at:
            break
        number += 1
    parent.rmdir()
    print(f"every run kept its promises; seed {arguments.seed}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
