"""Everything a user can choose, once: the command line is generated from these fields.

What concerns retries, pace and order stands in `policy`.

Each field's metadata holds its flags and its help; defaults are documented by being here.  `None`
always means "no limit" or "not set", and 0 is never a special value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from livepost.errors import ConfigurationError
from livepost.option import at_least, option, positive
from livepost.policy import OrderOptions, OutcomeOptions, PaceOptions, RetryOptions
from livepost.target import Target


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What each request looks like."""

    method: str = option("POST", "-X", "--request", metavar="METHOD", help="request method")
    headers: tuple[str, ...] = option(
        (),
        "-H",
        "--header",
        metavar="LINE",
        secret=True,
        help="'Name: value' to add or replace, 'Name:' to leave out, 'Name;' to send empty, "
        "@FILE to read such lines from; repeatable",
    )


# What stands in a request line as it is.  No query: that may hold a secret, and a run keeps its options.
_SAFE_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there are: Go's Transport knobs under Python names."""

    max_conns_per_host: int = option(
        64,
        "--connections",
        metavar="N",
        help="most connections at a time; over HTTP/2, where one carries many requests, as few as carry so "
        "many requests",
    )
    max_idle_conns_per_host: int | None = option(
        None,
        "--max-idle",
        metavar="N",
        help="most idle connections kept (default: as many as --connections, so that none is thrown away)",
    )
    max_idle_conns: int | None = option(
        None, help="most idle connections kept over all hosts; None is no limit"
    )
    disable_keep_alives: bool = option(
        False, "--no-keepalive", help="a new connection for every record (to compare)"
    )

    def __post_init__(self) -> None:
        at_least(1, connections=self.max_conns_per_host)
        at_least(0, max_idle=self.max_idle_conns_per_host, max_idle_conns=self.max_idle_conns)

    @property
    def idle_per_host(self) -> int:
        """`max_idle_conns_per_host`, or its default: equal to the connection limit."""
        idle = self.max_idle_conns_per_host
        return self.max_conns_per_host if idle is None else idle


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each thing may take: in seconds, or as 500ms, 90s, 2m, 1h; none is no limit."""

    connect_timeout: float | None = option(
        10.0,
        "--connect-timeout",
        metavar="TIME",
        unit="seconds",
        help="for name look-up, TCP handshake and proxy",
    )
    max_time: float | None = option(
        60.0,
        "--max-time",
        "-m",
        metavar="TIME",
        unit="seconds",
        help="for one request, from its first byte to the end of its answer",
    )
    idle_conn_timeout: float | None = option(
        90.0, "--idle-timeout", metavar="TIME", unit="seconds", help="close a connection idle for longer"
    )
    tls_handshake_timeout: float | None = option(
        10.0, "--tls-handshake-timeout", metavar="TIME", unit="seconds", help="for the TLS handshake"
    )
    response_header_timeout: float | None = option(
        None,
        "--response-header-timeout",
        metavar="TIME",
        unit="seconds",
        help="from the last byte of a request to the first answer head (default: none but --max-time)",
    )
    expect_continue_timeout: float | None = option(
        1.0,
        "--expect-continue-timeout",
        metavar="TIME",
        unit="seconds",
        help="with -H 'Expect: 100-continue', wait this long for the server's go-ahead before the body is "
        "sent anyway",
    )

    def __post_init__(self) -> None:
        positive(
            connect_timeout=self.connect_timeout,
            max_time=self.max_time,
            idle_timeout=self.idle_conn_timeout,
            tls_handshake_timeout=self.tls_handshake_timeout,
            response_header_timeout=self.response_header_timeout,
            expect_continue_timeout=self.expect_continue_timeout,
        )


@dataclass(frozen=True, slots=True)
class LivenessOptions:
    """How connections are kept live: a server's limits are learned, and remembered for seven days."""

    keepalive_path: str | None = option(
        None,
        "--keepalive-path",
        metavar="PATH",
        help="a path that may be asked for by GET at any time, such as /health: a connection idle for so "
        "long that the server may be closing it is tried with it instead of being replaced",
    )
    keepalive_every: float | Literal["auto"] | None = option(
        None,
        "--keepalive-every",
        metavar="auto|TIME",
        unit="seconds",
        help="while more records may come, ask for --keepalive-path on each connection in use that is idle "
        "for so long, until --idle-timeout after its last record; auto: before the server's idle limit "
        "(default: do not ask)",
    )
    max_connection_age: float | None = option(
        None,
        "--max-connection-age",
        metavar="TIME",
        unit="seconds",
        help="replace connections older than this, give or take a tenth, the new one first "
        "(default: no limit)",
    )
    max_handshakes_per_1000: float | None = option(
        None,
        "--max-handshakes-per-1000",
        metavar="N",
        help="exit with 1 if there were more handshakes than this per 1,000 records (default: no limit)",
    )
    no_memory: bool = option(
        False, "--no-memory", help="neither use nor keep what was learned of servers in the cache directory"
    )

    def __post_init__(self) -> None:
        path = self.keepalive_path
        if path is not None and _SAFE_PATH.fullmatch(path) is None:
            raise ConfigurationError(
                "--keepalive-path is no path that a request could name",
                "begin it with / and leave out any query; percent-encode spaces and what is not ASCII",
            )
        if self.keepalive_every is not None and path is None:
            raise ConfigurationError(
                "--keepalive-every needs something to ask for", "add --keepalive-path PATH, as in /health"
            )
        positive(
            keepalive_every=self.heartbeat_seconds,
            max_connection_age=self.max_connection_age,
            max_handshakes_per_1000=self.max_handshakes_per_1000,
        )

    @property
    def heartbeat_seconds(self) -> float | None:
        """`keepalive_every` as a number; None if it is auto or not set."""
        return None if self.keepalive_every == "auto" else self.keepalive_every


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Whom to trust, and who we are."""

    insecure: bool = option(
        False, "-k", "--insecure", help="do not verify the server's certificate (anyone can pose as it)"
    )
    cacert: str | None = option(
        None, "--cacert", metavar="FILE", help="trust only the authorities in this PEM file"
    )
    cert: str | None = option(
        None, "--cert", metavar="FILE", help="client certificate, PEM; may hold the key too"
    )
    key: str | None = option(None, "--key", metavar="FILE", help="the client certificate's private key, PEM")


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """How the server is reached."""

    http1_1: bool = option(
        False,
        "--http1.1",
        help="speak HTTP/1.1 only (default: over TLS, HTTP/2 where the server offers it)",
    )
    http2_prior_knowledge: bool = option(
        False,
        "--http2-prior-knowledge",
        help="speak HTTP/2 also without TLS, or over TLS where the server does not say what it speaks (if it "
        "answers in HTTP/1.1, that is spoken)",
    )
    proxy: str | None = option(
        None,
        "-x",
        "--proxy",
        metavar="URL",
        secret=True,
        help="HTTP proxy (default: http_proxy, https_proxy, all_proxy, no_proxy of the environment; "
        "'' for none)",
    )
    unix_socket: str | None = option(
        None, "--unix-socket", metavar="PATH", help="connect to this socket instead of the URL's host"
    )
    resolve: tuple[str, ...] = option(
        (),
        "--resolve",
        metavar="HOST:PORT:ADDR[,ADDR]",
        help="use these addresses instead of looking the host up; repeatable",
    )


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How records are read."""

    max_record_bytes: int = option(
        16 * 1024 * 1024,
        "--max-record-bytes",
        metavar="SIZE",
        unit="bytes",
        help="reject longer records; 64K, 16MiB and 1M are understood",
    )
    input_format: str = option(
        "auto",
        "--input-format",
        metavar="ndjson|json|letters",
        help="records one a line, or an array, or what a run wrote into rejected.ndjson or in-doubt.ndjson "
        "(default: by file name; standard input is ndjson)",
    )

    def __post_init__(self) -> None:
        at_least(1, max_record_bytes=self.max_record_bytes)
        if self.input_format not in ("auto", "ndjson", "json", "letters"):
            raise ConfigurationError(
                f"there is no input format {self.input_format}", "use ndjson, json or letters"
            )


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """All of the above, and where to."""

    target: Target
    request: RequestOptions = RequestOptions()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    liveness: LivenessOptions = LivenessOptions()
    tls: TlsOptions = TlsOptions()
    route: RouteOptions = RouteOptions()
    input: InputOptions = InputOptions()
    outcome: OutcomeOptions = field(default_factory=OutcomeOptions)
    retry: RetryOptions = field(default_factory=RetryOptions)
    pace: PaceOptions = field(default_factory=PaceOptions)
    order: OrderOptions = field(default_factory=OrderOptions)
    max_response_bytes: int = 1024 * 1024
    """Longer answers are cut off and end their connection; a hostile server can claim this much on each."""

    def __post_init__(self) -> None:
        at_least(1, max_response_bytes=self.max_response_bytes)
        if self.route.http1_1 and self.route.http2_prior_knowledge:
            raise ConfigurationError(
                "--http1.1 and --http2-prior-knowledge exclude each other", "give one of them"
            )
        if self.route.unix_socket is not None and self.route.proxy:
            raise ConfigurationError("--unix-socket and --proxy exclude each other", "give one of them")

    def elsewhere(self, target: Target) -> DeliveryOptions:
        """For another origin, which is not told who we are."""
        return replace(self, target=target, tls=replace(self.tls, cert=None, key=None))


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Run directory: keeps how far each record has come, so that the run can be resumed."""

    run: str | None = option(
        None,
        "--run",
        metavar="DIR",
        help="the run directory, which must be new or empty (default: .livepost/NAME-TIME)",
    )
    no_run: bool = option(False, "--no-run", help="keep nothing: the run cannot be resumed")

    def __post_init__(self) -> None:
        if self.no_run and self.run is not None:
            raise ConfigurationError("--run and --no-run exclude each other", "give one of them")


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """What is written, and where."""

    receipts: str | None = option(
        None,
        "-o",
        "--output",
        metavar="FILE",
        help="a receipt for every record, one JSON line each, in place of what is in FILE "
        "(resume adds to it); - is stdout",
    )
    json: bool = option(False, "--json", help="print the summary as JSON on stdout")
    progress: str = option(
        "auto",
        "--progress",
        metavar="auto|bar|plain|none",
        help="on stderr: a live bar, a line every 10 s, or nothing (auto: bar on a terminal, else plain)",
    )

    def __post_init__(self) -> None:
        if self.progress not in ("auto", "bar", "plain", "none"):
            raise ConfigurationError(
                f"there is no progress display {self.progress}", "use auto, bar, plain or none"
            )
        if self.json and self.receipts == "-":
            raise ConfigurationError(
                "both the receipts and the summary would go to stdout",
                "give -o a file name, or leave out --json",
            )
