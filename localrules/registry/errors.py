"""Errors for names that cannot be used."""

from __future__ import annotations

from localrules.errors import LocalRulesError, UsageError, shorten, suggest_names
from localrules.registry.discovery import OWN_DISTRIBUTION
from localrules.registry.entries import KINDS
from localrules.registry.listing import ListedEntry


class UnknownNameError(UsageError):
    """No plugin supplies a rule, model, data set or the like of a name.

    Attributes:
        kind: What it should have been, e.g. ``rule``.
    """

    kind: str


def ambiguous_error(kind: str, items: list[ListedEntry]) -> UsageError:
    word, name = KINDS[kind].name, items[0].entry.name
    return UsageError(
        f"more than one distribution supplies the {word} {name!r}",
        where=f"{word} {name!r}",
        why=" and ".join(f"{item.distribution} {item.version}".rstrip() for item in items) + " each have one",
        fix="say which: " + " or ".join(item.full_name for item in items),
    )


def unusable_error(kind: str, name: str, item: ListedEntry) -> LocalRulesError:
    error = LocalRulesError(
        f"{KINDS[kind].name} {name!r} cannot be used: its plugin is {item.status}",
        where=f"{item.distribution} {item.version}".rstrip(),
        why=item.cause or "",
        fix=fix_hint(item, item.error),
    )
    error.__cause__ = item.error
    return error


def unknown_error(kind: str, name: str, listed: list[ListedEntry]) -> UsageError:
    known = [item.entry.name for item in listed if item.status == "ok"]
    known += [item.full_name for item in listed if item.status == "conflict"]
    unusable = [item for item in listed if item.status in ("broken", "incompatible")]
    why = "no installed plugin supplies it"
    if unusable:
        said = "; ".join(f"{item.distribution} {item.version} is {item.status}: {item.cause}" for item in unusable)
        why = f"no usable plugin supplies it, and some plugins cannot be used: {said}"
    error = UnknownNameError(
        f"there is no {KINDS[kind].name} {shorten(name)!r}",
        where=f"{KINDS[kind].name} {shorten(name)!r}",
        why=why,
        fix=f"{suggest_names(name, known)} (more come as packages, localrules-..., or as a file, --plugin rule.py)",
    )
    error.kind = kind
    error.__cause__ = unusable[0].error if unusable else None
    return error


def fix_hint(item: ListedEntry, error: BaseException | None) -> str:
    if item.distribution == OWN_DISTRIBUTION:
        return "reinstall localrules; if that does not help, please report it"
    if isinstance(error, ModuleNotFoundError):
        return f"install the module {error.name!r}, which {item.distribution} needs"
    if not item.version:
        return f"correct {item.distribution}"
    return f"update {item.distribution}, tell its authors, or leave it out with --no-plugin {item.distribution}"
