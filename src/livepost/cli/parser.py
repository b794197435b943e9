"""Command-line parsers, with every option taken from the dataclasses of `config`.

argparse, because it costs 10 ms at start (measured: cyclopts 140 ms) and takes `-` for a file and
`-kXPUT` for two flags.  What it lacks, a suggestion for a mistyped option, is added here.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Callable, Container, Sequence
from typing import Any, NoReturn, TypeVar

from livepost.cli import quantities
from livepost.cli.talk import print_data
from livepost.errors import ConfigurationError

Options = TypeVar("Options")

# No argument begins with it, because the system ends one there.
_PLAIN = "\0"

_READ_UNIT: dict[str, Callable[[str], Any]] = {"seconds": quantities.seconds, "bytes": quantities.size}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ConfigurationErrors with a hint."""

    def __init__(self, prog: str, usage: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
        )
        self.bare_values: dict[str, str] = {}
        """What a flag means that stands without a value: a value is only taken after an equals sign."""

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse, options and files in any order.  Raises ConfigurationError."""
        end = arguments.index("--") if "--" in arguments else len(arguments)
        options = self._with_bare_values(arguments[:end])
        # argparse takes some of what stands behind the two dashes for options after all.
        plain = [_PLAIN + word for word in arguments[end + 1 :]]
        namespace, unknown = self.parse_known_intermixed_args([*options, *plain])
        marked = frozenset(plain)
        if unknown:
            word = unknown[0]
            self.error(_superfluous(word[1:]) if word in marked else self._unknown(word.partition("=")[0]))
        for name, value in vars(namespace).items():
            if isinstance(value, list):
                setattr(namespace, name, [word[1:] if word in marked else word for word in value])
            elif isinstance(value, str) and value in marked:
                setattr(namespace, name, value[1:])
        return namespace

    def print_help(self, file: Any = None) -> None:
        """Print it on stdout; a reader that went away is no error."""
        print_data(self.format_help().rstrip())

    def error(self, message: str) -> NoReturn:
        # Of curl's -kuUSER:PASSWORD argparse repeats what follows the k.
        message = re.sub("ignored explicit argument .*", "takes no value", message, flags=re.DOTALL)
        raise ConfigurationError(message, f"see {self.prog} --help")

    def _with_bare_values(self, arguments: Sequence[str]) -> list[str]:
        # Not argparse's nargs="?", which would take the file after the flag for its value.
        values = self.bare_values
        return [f"{word}={values[word]}" if word in values else word for word in arguments]

    def _unknown(self, option: str) -> str:
        if not option.startswith("-"):
            return _superfluous(option)
        known = [flag for action in self._actions for flag in action.option_strings]
        close = difflib.get_close_matches(option, known, n=1)
        suggestion = f"; did you mean {close[0]}?" if close else ""
        # What follows a letter may be a secret, as in curl's -uUSER:PASSWORD.
        shown = option if option.startswith("--") else option[:2]
        return f"there is no option {shown}{suggestion}"


def _superfluous(word: str) -> str:
    # A URL may hold a password.
    return f"there is nothing to be done with {word if '@' not in word else 'one more argument'}"


def add_options(parser: Parser, kind: type[Any], omit: Container[str] = ()) -> None:
    """Add an option for every field of dataclass `kind` that has flags, but for those in `omit`."""
    title, _, explanation = (kind.__doc__ or "").partition("\n")[0].rstrip(".").partition(": ")
    group = parser.add_argument_group(title, explanation or None)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.metadata.get("flags") and field.name not in omit:
            group.add_argument(
                *field.metadata["flags"], dest=field.name, **_argument(field, hints[field.name])
            )
            if field.metadata["bare"]:
                parser.bare_values |= dict.fromkeys(field.metadata["flags"], field.metadata["bare"])


def collect(namespace: argparse.Namespace, kind: type[Options]) -> Options:
    """Make a `kind` from what was parsed; what was not given keeps its default.

    Raises ConfigurationError for a value out of range.
    """
    given = vars(namespace)
    names = [field.name for field in dataclasses.fields(typing.cast(Any, kind))]
    values = {name: given[name] for name in names if name in given}
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def _argument(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    """What argparse needs to know of one field."""
    argument: dict[str, Any] = {
        "help": _help(field),
        "default": argparse.SUPPRESS,
        "metavar": field.metadata["metavar"] or None,
    }
    if hint is bool:
        del argument["metavar"]
        return argument | {"action": "store_true"}
    if typing.get_origin(hint) is tuple:
        return argument | {"action": "append"}
    return argument | {"type": _converter(hint, field.metadata["unit"])}


def _help(field: dataclasses.Field[Any]) -> str:
    text = str(field.metadata["help"]).replace("%", "%%")
    default: Any = field.default
    if default is None or default is False or default in ((), "") or "default" in text:
        return text
    if field.metadata["unit"] == "seconds":
        return f"{text} (default: {default:g} s)"
    if field.metadata["unit"] == "bytes":
        return f"{text} (default: {default // 1024**2} MiB)"
    return f"{text} (default: {default})"


def _converter(hint: Any, unit: str) -> Callable[[str], Any]:
    """From text to the field's type; `none` where that may be None, and what a Literal in it holds."""
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    parts = typing.get_args(hint) if is_union else (hint,)
    words = {word: word for part in parts for word in typing.get_args(part)}
    if type(None) in parts:
        words["none"] = None
    (kind,) = [part for part in parts if part is not type(None) and not typing.get_args(part)]
    if kind is str:
        return str
    read = _READ_UNIT.get(unit, kind)

    def convert(text: str) -> Any:
        if text.lower() in words:
            return words[text.lower()]
        try:
            return read(text)
        except ValueError as error:
            problem = str(error) if unit else f"{text!r} is not a number"
            also = "".join(f", or {word}" for word in words if word != "none")
            raise argparse.ArgumentTypeError(problem + also) from None

    return convert
