"""What `livepost serve` is told about its connections, as people write it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from livepost.cli import quantities
from livepost.cli.parser import Parser
from livepost.errors import ConfigurationError
from livepost.rehearsal.latency import Latency
from livepost.rehearsal.limits import IdleEnding, ServerLimits
from livepost.rehearsal.profiles import Profile, profile_named

# A calendar has an end.
_MOST_SKEW_SECONDS = 100 * 365.25 * 86_400


def add_connection_options(parser: Parser) -> None:
    """The limits of a connection, its pace, the server's clock, and what is spoken."""
    limits = parser.add_argument_group("limits of a connection", "override the profile; none: no limit")
    limits.add_argument("--profile", metavar="NAME", help="end connections as this server does (see below)")
    _add_limit(limits, "--idle-timeout", "TIME", _seconds, "end it after so long without a request")
    limits.add_argument(
        "--idle-ending",
        metavar="HOW",
        help="then close; or answer 408, reset, forget (RST to what comes later), vanish (all is lost)",
    )
    _add_limit(limits, "--max-requests", "N", _count, "end it with the Nth answer")
    _add_limit(limits, "--max-age", "TIME", _seconds, "end it when it is so old")
    limits.add_argument(
        "--unannounced",
        action="store_true",
        help="--max-requests and --max-age end it without Connection: close or GOAWAY",
    )
    limits.add_argument("--max-streams", metavar="N", type=_count, help="requests at a time over HTTP/2")
    pace = parser.add_argument_group("pace and clock")
    pace.add_argument(
        "--latency", metavar="TIME[+-TIME]", type=_latency, help="answer so late, as 20ms or 20ms+-5ms"
    )
    pace.add_argument(
        "--handshake-latency",
        metavar="TIME",
        type=_seconds,
        default=0.0,
        help="let a TCP handshake take so long, and a TLS handshake as long again",
    )
    pace.add_argument(
        "--clock-skew",
        metavar="TIME",
        type=_skew,
        default=0.0,
        help="the Date of answers, and times that a fault tells, are so far ahead; behind with =-TIME",
    )
    spoken = parser.add_argument_group("what is spoken")
    spoken.add_argument(
        "--tls", action="store_true", help="TLS 1.2 and 1.3, by a certificate made on the spot (with openssl)"
    )
    spoken.add_argument("--tls-cert", metavar="FILE", help="TLS by this certificate, PEM")
    spoken.add_argument("--tls-key", metavar="FILE", help="its key, if that is not in the same file")
    spoken.add_argument(
        "--http2",
        action="store_true",
        help="HTTP/2 too: over TLS with ALPN, else with those who begin with it (needs the package h2)",
    )


def _add_limit(
    group: argparse._ArgumentGroup, flag: str, metavar: str, read: Callable[[str], Any], text: str
) -> None:
    """One that may be `none`, which is not the same as not to be given."""
    group.add_argument(flag, metavar=metavar, type=_or_none(read), default=argparse.SUPPRESS, help=text)


def profile_of(given: argparse.Namespace) -> Profile | None:
    """Raises ConfigurationError for a name that there is not, or that does not go with --http2."""
    if given.profile is None:
        return None
    profile = profile_named(given.profile)
    if given.http2 and not profile.http2:
        raise ConfigurationError(
            f"{profile.name} does not speak HTTP/2 itself", "leave out --http2, or choose another --profile"
        )
    return profile


def limits_of(given: argparse.Namespace, profile: Profile | None) -> ServerLimits:
    """The profile's, as the other options change them.  Raises ConfigurationError."""
    changes: dict[str, Any] = {
        name: getattr(given, name) for name in ("idle_timeout", "max_requests", "max_age") if name in given
    }
    if given.max_streams is not None:
        changes["max_streams"] = given.max_streams
    if given.unannounced:
        changes["announces"] = False
    if given.idle_ending is not None:
        changes["idle_ending"] = _idle_ending(given.idle_ending)
    limits = dataclasses.replace(ServerLimits() if profile is None else profile.limits, **changes)
    _check_of_use(given, limits)
    return limits


def _check_of_use(given: argparse.Namespace, limits: ServerLimits) -> None:
    if given.idle_ending is not None and limits.idle_timeout is None:
        raise ConfigurationError("--idle-ending is given without an idle limit", "add --idle-timeout TIME")
    if given.unannounced and limits.max_requests is None and limits.max_age is None:
        raise ConfigurationError(
            "--unannounced is given without a limit that could be announced",
            "add --max-requests N or --max-age TIME",
        )
    if given.max_streams is not None and not given.http2:
        raise ConfigurationError("--max-streams is given without --http2", "add --http2")
    if given.tls_key is not None and given.tls_cert is None:
        raise ConfigurationError("--tls-key is given without --tls-cert", "give the certificate as well")


def _idle_ending(text: str) -> IdleEnding:
    try:
        return IdleEnding(text)
    except ValueError:
        choice = ", ".join(ending.value for ending in IdleEnding)
        raise ConfigurationError(f"there is no idle ending {text}", f"choose one of {choice}") from None


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text.lower() == "none" else read(text)


def _seconds(text: str) -> float:
    try:
        return quantities.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _skew(text: str) -> float:
    skew = -_seconds(text[1:]) if text.startswith("-") else _seconds(text.removeprefix("+"))
    if abs(skew) > _MOST_SKEW_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 100 years")
    return skew


def whole_number(text: str) -> int:
    """Raises ArgumentTypeError with a sentence for the user."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _latency(text: str) -> Latency:
    seconds, _, jitter = text.replace("±", "+-").partition("+-")
    return Latency(_seconds(seconds), _seconds(jitter) if jitter else 0.0)
