"""Rules with a closed-form solution."""

from localrules import ExperimentEntry, RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="cafo",
            target="localrules_closed_form.cafo:CaFo",
            summary="Layers stay random; a predictor on each is solved in closed form, and they vote.",
            reference="Zhao, Wang, Li, Jin, Lang & Ling 2023, https://arxiv.org/abs/2303.09728",
            locality="local-labels",
        ),
    ]


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="published-cafo",
            target="localrules_closed_form.published:cafo",
            summary="CaFo on MNIST and Fashion-MNIST; no published number of these networks was found.",
            reference="Zhao, Wang, Li, Jin, Lang & Ling 2023, https://arxiv.org/abs/2303.09728",
            suite="published",
        ),
    ]
