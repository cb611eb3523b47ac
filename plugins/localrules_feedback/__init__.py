"""Rules that send the error back by other weights than the forward ones, or straight to every layer."""

from localrules import RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return []
