"""What a person is told who asks for a name that cannot be used."""

from __future__ import annotations

from localrules.errors import LocalRulesError, UsageError, nearest
from localrules.plugin_kinds import KINDS
from localrules.plugin_listing import Listed
from localrules.plugin_sources import OURS


def ambiguous(kind: str, items: list[Listed]) -> UsageError:
    word, name = KINDS[kind].word, items[0].entry.name
    return UsageError(
        f"more than one distribution supplies the {word} {name!r}",
        where=f"{word} {name!r}",
        why=" and ".join(f"{item.distribution} {item.version}".rstrip() for item in items) + " each have one",
        fix="say which: " + " or ".join(item.full_name for item in items),
    )


def unusable(kind: str, name: str, item: Listed) -> LocalRulesError:
    error = LocalRulesError(
        f"{KINDS[kind].word} {name!r} cannot be used: its plugin is {item.status}",
        where=f"{item.distribution} {item.version}".rstrip(),
        why=item.cause or "",
        fix=repair(item, item.error),
    )
    error.__cause__ = item.error
    return error


def unknown(kind: str, name: str, listed: list[Listed]) -> UsageError:
    known = [item.entry.name for item in listed if item.status == "ok"]
    known += [item.full_name for item in listed if item.status == "conflict"]
    unusable = [item for item in listed if item.status in ("broken", "incompatible")]
    why = "no installed plugin supplies it"
    if unusable:
        said = "; ".join(f"{item.distribution} {item.version} is {item.status}: {item.cause}" for item in unusable)
        why = f"no usable plugin supplies it, and some plugins cannot be used: {said}"
    error = UsageError(
        f"there is no {KINDS[kind].word} {name!r}",
        where=f"{KINDS[kind].word} {name!r}",
        why=why,
        fix=f"{nearest(name, known)} (more come as packages, localrules-..., or as a file, --plugin rule.py)",
    )
    error.__cause__ = unusable[0].error if unusable else None
    return error


def repair(item: Listed, error: BaseException | None) -> str:
    if item.distribution == OURS:
        return "reinstall localrules; if that does not help, please report it"
    if isinstance(error, ModuleNotFoundError):
        return f"install the module {error.name!r}, which {item.distribution} needs"
    if not item.version:
        return f"correct {item.distribution}"
    return f"update {item.distribution}, tell its authors, or leave it out with --no-plugin {item.distribution}"
