"""Errors that tell a person what happened, where, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 1200
"""Characters of a part of an error: what is quoted in it may be of any length."""

MOST_NAMES = 60


class LocalRulesError(Exception):
    """An error meant for the person at the keyboard; the command line prints it without a traceback.

    Args:
        what: What went wrong, in one sentence.
        where: The file, row, layer, option or plugin concerned.
        why: The cause: what was found and what was expected.
        fix: What to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        self.what = shorten(what, LONGEST)
        super().__init__(self.what)
        self.where = shorten(where, LONGEST)
        self.why = shorten(why, LONGEST)
        self.fix = shorten(fix, LONGEST)

    def as_dict(self) -> dict[str, str]:
        """The four parts, as the command line prints them under ``--json``."""
        return {"what": self.what, "where": self.where, "why": self.why, "fix": self.fix}

    def __str__(self) -> str:
        parts = [self.what]
        parts += [f"{name}: {text}" for name, text in list(self.as_dict().items())[1:] if text]
        return "\n  ".join(parts)


class UsageError(LocalRulesError):
    """The command, configuration or input is wrong: exit code 2."""

    exit_code = 2


class PluginCodeError(LocalRulesError):
    """Code of a plugin raised an exception, returned what cannot be used, or changed the state of the process."""


class NotFiniteError(PluginCodeError):
    """An objective of finite outputs is infinite, or not a number, in the first step."""


class DataError(UsageError):
    """A data file that is missing, damaged, or lacks what was asked for."""


class MissingDependencyError(UsageError):
    """A package that is needed for this and not for all else: ``fix`` says how to install it.

    A model, rule or data set that raises it is left out where others are reproduced beside it.
    """


def shorten(text: str, most: int = 100) -> str:
    """A text as it is, or its start and its length if it is long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def error_text(error: BaseException) -> str:
    """The text of an exception in one line, also where its ``str`` fails."""
    try:
        return " ".join(str(error).split())
    except Exception as failure:
        return f"(its text cannot be shown: {type(failure).__name__})"


def describe_exception(error: BaseException) -> str:
    """An exception in one line, with its type."""
    text = error_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def error_message(error: BaseException, what: str, where: str = "") -> dict[str, Any]:
    """An error as plain values, for another process, where :func:`error_of` makes it again.

    Args:
        error: Any; of one that is meant for people the parts and the kind are kept.
        what, where: Of another one.
    """
    if isinstance(error, LocalRulesError):
        return {**error.as_dict(), "usage": isinstance(error, UsageError)}
    return {"what": what, "where": where, "why": describe_exception(error), "usage": False}


def error_of(message: Mapping[str, Any]) -> LocalRulesError:
    """The error that :func:`error_message` made plain."""
    parts = dict(message)
    kind = UsageError if parts.pop("usage") else LocalRulesError
    return kind(**parts)


def warn(message: str) -> None:
    """Warn of something that does not stop what is going on, also where warnings are errors."""
    import warnings

    try:
        warnings.warn(message, stacklevel=3)
    except Warning:
        import sys

        print(f"Warning: {message}", file=sys.stderr)


def suggest_names(name: str, known: list[str]) -> str:
    """A sentence that suggests the known names nearest to a mistyped one, or lists them, the first 60 of many."""
    import difflib

    by_lower = {item.lower(): item for item in known}
    close = [by_lower[item] for item in difflib.get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.5)]
    if close:
        return "did you mean " + " or ".join(repr(item) for item in close) + "?"
    left = f", and {len(known) - MOST_NAMES:,} more" if len(known) > MOST_NAMES else ""
    return f"known names: {', '.join(sorted(known)[:MOST_NAMES])}{left}" if known else "none is installed"
