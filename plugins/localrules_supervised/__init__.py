"""Rules that give every layer a classifier of its own."""

from localrules import RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="local-ce",
            target="localrules_supervised.local_ce:LocalCrossEntropy",
            summary="Cross-entropy of a linear classifier that belongs to the layer.",
            reference="Belilovsky, Eickenberg & Oyallon 2019, https://arxiv.org/abs/1812.11446",
        ),
        RuleEntry(
            name="sigprop",
            target="localrules_supervised.sigprop:SigProp",
            summary="Labels pass through the network as pictures; layers bring pictures near their label's.",
            reference="Kohan, Rietman & Siegelmann 2022, https://arxiv.org/abs/2204.01723",
        ),
    ]
