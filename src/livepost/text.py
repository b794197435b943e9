"""Text for people and for JSON, made from what may not be text."""

from __future__ import annotations

import codecs
import re

# A password may hold anything but white space; quotes stand around what is shown.  Only from where a word
# begins, or a long one would be looked at again from each of its characters.
_CREDENTIALS = re.compile(r"(?<!\S)([^\s:]*['\"])?[^\s:'\"]*:\S*@")


def as_text(body: bytes, most_bytes: int) -> str:
    """The first `most_bytes` of `body` as text.

    What is not UTF-8 becomes U+FFFD; a character that the bound cuts in two is left out.
    """
    if len(body) <= most_bytes:
        return body.decode("utf-8", "replace")
    # Not final, so that a character cut in two is left out instead of replaced.
    return codecs.getincrementaldecoder("utf-8")("replace").decode(body[:most_bytes])


def printable(text: str) -> str:
    """`text` with U+FFFD for what could move a terminal's cursor: some of it may be a stranger's."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def without_credentials(text: str) -> str:
    """`text` with `...@` for the part of a word that may be `USER:PASSWORD@`, as in a URL.

    Who mistypes a command may have put one where a file or a number should stand.
    """
    return _CREDENTIALS.sub(r"\1...@", text)


def without_surrogates(text: str) -> str:
    """`text` with `?` for what cannot be encoded.

    A file name that is not UTF-8 reaches Python with lone surrogates in it.
    """
    return text.encode("utf-8", "replace").decode()
