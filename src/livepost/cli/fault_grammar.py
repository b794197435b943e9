"""`--fail SPEC`: what the practice server does wrong, as people write it.

SPEC   = KIND *( ":" OPTION )
KIND   = a name of the table in `livepost serve --help`, or a status: 503
OPTION = NAME [ "=" VALUE ]     a VALUE in double quotes may hold colons
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from livepost.cli import quantities
from livepost.errors import ConfigurationError
from livepost.rehearsal.fault_plan import Rule, When
from livepost.rehearsal.faults import TRAITS, Fault, FaultFields, FaultKind, FromNow, Place, TimeForm
from livepost.rehearsal.rate_limit_fields import RateLimitForm, rate_limit_fields
from livepost.rehearsal.reply import After

_PARTS = re.compile(r'((?:[^":]|"[^"]*")*)(:|$)')
_MOMENT = re.compile(r"(date|epoch)(?:([+-])(.+))?")

_WHEN_OPTIONS = ("p", "every", "from", "to", "for")
_RATE_LIMIT_OPTIONS = ("ratelimit", "limit", "remaining", "reset", "window")

_FIELD_OF_OPTION = {
    "processed": "processed",
    "early": "early",
    "then": "then",
    "delay": "delay_seconds",
    "interval": "interval_seconds",
    "bytes": "cut_bytes",
    "for": "lasts_seconds",
    "retry-after": "fields",
    "location": "fields",
    "header": "fields",
} | dict.fromkeys(_RATE_LIMIT_OPTIONS, "fields")
"""Which field of `Fault` an option fills; `for` does so for faults of the listener."""


_BOTH_ENDS = ConfigurationError("to and for are both given", "give one of them")


def parse_rule(spec: str) -> Rule:
    """Read one SPEC.  Raises ConfigurationError."""
    try:
        return _rule(spec)
    except ConfigurationError as error:
        raise ConfigurationError(f"--fail {spec}: {error}", error.hint) from None


def _rule(spec: str) -> Rule:
    kind_text, *options = _split(spec)
    status = int(kind_text) if re.fullmatch("[0-9]{3}", kind_text) else None
    kind = FaultKind.STATUS if status is not None else _kind(kind_text)
    given: dict[str, list[str]] = {}
    for option in options:
        name, _, value = option.partition("=")
        _check_option(kind_text, kind, name)
        if (value == "") is not (name == "early"):
            raise ConfigurationError(
                f"{name} {'takes no' if value else 'needs a'} value", "see livepost serve --help"
            )
        if name in given and name != "header":
            raise ConfigurationError(f"{name} is given twice", "give it once")
        given.setdefault(name, []).append(_unquoted(value))
    single = {name: values[0] for name, values in given.items()}
    when, lasts_seconds = _when(kind, single)
    values: dict[str, Any] = {
        _FIELD_OF_OPTION[name]: _READ[name](single[name]) for name in single.keys() & _READ.keys()
    }
    fields = _fields(single, given.get("header", ()))
    if lasts_seconds is not None:
        values["lasts_seconds"] = lasts_seconds
    if "early" in single:
        values["early"] = True
    return Rule(Fault(kind, status=status, fields=fields, **values), when)


def _split(spec: str) -> list[str]:
    """At the colons that are not within quotes."""
    parts, position = [], 0
    while match := _PARTS.match(spec, position):
        parts.append(match[1])
        position = match.end()
        if not match[2]:
            return parts
    raise ConfigurationError("a quote is not closed", "put the whole value between two double quotes")


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _kind(text: str) -> FaultKind:
    names = [kind.value for kind in FaultKind if kind is not FaultKind.STATUS]
    if text in names:
        return FaultKind(text)
    return _unknown(f"there is no fault {text or 'without a name'}", text, names)


def _check_option(kind_text: str, kind: FaultKind, name: str) -> None:
    known = (*_WHEN_OPTIONS, *_FIELD_OF_OPTION)
    if name not in known:
        _unknown(f"there is no option {name or 'without a name'}", name, known)
    takes = TRAITS[kind].takes
    if name not in _WHEN_OPTIONS and _FIELD_OF_OPTION[name] not in takes:
        own = [option for option, field in _FIELD_OF_OPTION.items() if field in takes and option != "for"]
        raise ConfigurationError(
            f"{kind_text} takes no {name}", f"it takes {', '.join([*own, *_WHEN_OPTIONS])}"
        )


def _unknown(what: str, text: str, known: Iterable[str]) -> NoReturn:
    close = difflib.get_close_matches(text, known, n=1)
    suggestion = f"; did you mean {close[0]}?" if close else ""
    raise ConfigurationError(f"{what}{suggestion}", "see livepost serve --help")


def _when(kind: FaultKind, given: Mapping[str, str]) -> tuple[When, float | None]:
    """When, and for a fault of the listener how many seconds it lasts."""
    probability = _number("p", given["p"]) if "p" in given else None
    every = _count("every", given["every"]) if "every" in given else None
    begin, end, length = (_point(name, given.get(name)) for name in ("from", "to", "for"))
    if TRAITS[kind].place is Place.LISTENER:
        return _when_out(When(probability, every), begin, end, length)
    if end is not None and length is not None:
        raise _BOTH_ENDS
    bounds = [bound for bound in (begin, end, length) if bound is not None]
    if len({type(bound) for bound in bounds}) > 1:
        raise ConfigurationError(
            "requests and times are mixed", "give from, to and for all as numbers, or all as times: 5s"
        )
    if any(isinstance(bound, float) for bound in bounds):
        after = begin or 0.0
        before = end if length is None else after + length
        return When(probability, every, after_seconds=after, before_seconds=before), None
    first = 1 if begin is None else int(begin)
    last = end if length is None else first + length - 1
    return When(probability, every, first, None if last is None else int(last)), None


def _when_out(
    when: When, begin: float | None, end: float | None, length: float | None
) -> tuple[When, float | None]:
    """Of a fault of the listener, which lasts `length` seconds."""
    if isinstance(length, int):
        raise ConfigurationError("for has no unit", "say how long it lasts as a time: 20s, 500ms, 2m")
    after = begin if isinstance(begin, float) else 0.0
    if isinstance(begin, int):
        last = begin if not when.names_requests and end is None else None
        when = dataclasses.replace(when, first=begin, last=last)
    if isinstance(end, int):
        when = dataclasses.replace(when, last=end)
    when = dataclasses.replace(
        when, after_seconds=after, before_seconds=end if isinstance(end, float) else None
    )
    if isinstance(end, float) and not when.names_requests:
        if length is not None:
            raise _BOTH_ENDS
        length = end - after
    return when, length


def _point(name: str, text: str | None) -> float | None:
    """A request as an int, a time as a float of seconds."""
    if text is None:
        return None
    return _count(name, text) if re.fullmatch("[0-9]+", text) else _seconds(text)


def _seconds(text: str) -> float:
    try:
        return quantities.seconds(text)
    except ValueError as error:
        raise ConfigurationError(str(error), "a bare number counts requests, a time has a unit: 5s") from None


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{name} is {text}", f"write it as a number: {name}=0.01") from None


def _count(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise ConfigurationError(f"{name} is {text}", f"write it as a whole number: {name}=10")
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ConfigurationError(f"processed is {text}", "say processed=yes or processed=no")
    return text == "yes"


def _after(text: str) -> After:
    names = [after.value for after in After]
    if text not in names:
        _unknown(f"the connection cannot {text}", text, names)
    return After(text)


_READ: dict[str, Callable[[str], object]] = {
    "processed": _yes_or_no,
    "then": _after,
    "delay": _seconds,
    "interval": _seconds,
    "bytes": lambda text: _count("bytes", text),
}


def _fields(given: Mapping[str, str], headers: Iterable[str]) -> FaultFields:
    fields: list[tuple[bytes, bytes | FromNow]] = []
    if "retry-after" in given:
        moment = _moment(given["retry-after"], TimeForm.HTTP_DATE)
        fields.append((b"Retry-After", given["retry-after"].encode() if moment is None else moment))
    if "location" in given:
        fields.append((b"Location", given["location"].encode()))
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip() or "\n" in header or "\r" in header:
            raise ConfigurationError(f"{header!r} is not a field", 'write header="Name: value"')
        fields.append((name.strip().encode(), value.strip().encode()))
    return (*fields, *_rate_limit(given))


def _rate_limit(given: Mapping[str, str]) -> FaultFields:
    if "ratelimit" not in given:
        for name in _RATE_LIMIT_OPTIONS:
            if name in given:
                raise ConfigurationError(
                    f"{name} is given without ratelimit", "add ratelimit=ietf, triple or x"
                )
        return ()
    forms = [form.value for form in RateLimitForm]
    if given["ratelimit"] not in forms:
        _unknown(f"there is no ratelimit={given['ratelimit']}", given["ratelimit"], forms)
    reset = given.get("reset", "1")
    return rate_limit_fields(
        RateLimitForm(given["ratelimit"]),
        limit=_count("limit", given.get("limit", "100")),
        remaining=_count("remaining", given.get("remaining", "0")),
        reset=_moment(reset, TimeForm.EPOCH_SECONDS) or _count("reset", reset),
        window_seconds=_count("window", given.get("window", "60")),
    )


def _moment(text: str, form: TimeForm) -> FromNow | None:
    match = _MOMENT.fullmatch(text)
    if match is None or match[1] != form.value:
        return None
    seconds = _seconds(match[3]) if match[3] else 0.0
    return FromNow(form, -seconds if match[2] == "-" else seconds)
