"""One option: a dataclass field with its command-line spelling, and the values it may have."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from livepost.errors import ConfigurationError


def option(
    default: Any,
    *flags: str,
    help: str,
    metavar: str = "",
    unit: str = "",
    bare: str = "",
    secret: bool = False,
) -> Any:
    """A dataclass field with its command-line spelling; without flags it is for the library only.

    `unit`, seconds or bytes, may be written as a person would: 2m, 16MiB.  `bare` is what the flag
    means without a value; then a value needs an equals sign.  `secret` keeps it out of reprs.
    """
    metadata = {"flags": flags, "help": help, "metavar": metavar, "unit": unit, "bare": bare}
    return field(default=default, repr=not secret, metadata=metadata)


def at_least(smallest: float, **values: float | None) -> None:
    """Raise ConfigurationError for the first that is below `smallest`; None is no limit."""
    for name, value in values.items():
        if value is not None and not value >= smallest:
            raise ConfigurationError(
                f"{name.replace('_', ' ')} is {value}", f"it must be at least {smallest:g}"
            )


def positive(**values: float | None) -> None:
    """Raise ConfigurationError for the first that is not above zero and finite; None is no limit."""
    for name, value in values.items():
        if value is not None and not 0 < value < float("inf"):
            raise ConfigurationError(f"{name.replace('_', ' ')} is {value}", "it must be above 0")
