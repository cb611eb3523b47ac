"""The entries of this plugin. Imported whenever rules are listed, so it imports nothing heavy."""

from localrules import RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="neighbours",
            target="localrules_neighbours.rule:Neighbours",
            summary="Each image finds its own class among its neighbours in the batch.",
            reference="Goldberger, Roweis, Hinton & Salakhutdinov 2004, Neighbourhood Components Analysis",
            locality="local-labels",
        )
    ]
