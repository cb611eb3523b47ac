"""Text for terminals, plots and files, of names and messages that come from elsewhere."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Iterable

_ESCAPE_CODE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_]?)")
_KEPT = "\n\t"


def joined(words: Iterable[str]) -> str:
    """``one, two and three``."""
    *most, last = [*words] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def printable(text: str) -> str:
    """A text that can be encoded: bytes of a file name that are not UTF-8 become escapes, such as ``\\xfc``."""
    return os.fsencode(text).decode(errors="backslashreplace") if has_surrogates(text) else text


def shell_quote(word: object) -> str:
    """A word as it can be pasted into a shell, also one with bytes that are not UTF-8: ``$'caf\\351'``."""
    text = str(word)
    if not has_surrogates(text) and text.isprintable():
        return shlex.quote(text)
    # bash, zsh and ksh read bytes by their numbers; no byte of an escape is followed by a digit that would be its own.
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\{byte:03o}" for byte in os.fsencode(text)
    )
    return f"$'{escaped}'"


def shell_join(words: Iterable[object]) -> str:
    """A command line of these words, each quoted where it has to be."""
    return " ".join(map(shell_quote, words))


def command_line(words: Iterable[object], plugin_files: Iterable[object] = (), *, absolute: bool = False) -> str:
    """A command of localrules to be pasted into a shell.

    Args:
        words: Its words after ``localrules``.
        plugin_files: The files that it needs, as ``--plugin`` named them.
        absolute: Name them so that the command works in any folder.
    """
    files = [os.path.abspath(str(file)) if absolute else file for file in plugin_files]
    return shell_join(["localrules", *words, *(word for file in files for word in ("--plugin", file))])


def has_surrogates(text: str) -> bool:
    """Whether a text has bytes that are not UTF-8, which Python keeps as lone surrogates."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def without_escape_codes(text: str) -> str:
    """A text without the codes that move a terminal's cursor or change its colours, and other control characters."""
    if text.isprintable():
        return text
    plain = _ESCAPE_CODE.sub("", text)
    return "".join(letter for letter in plain if letter in _KEPT or unicodedata.category(letter) != "Cc")
