"""Rules that need no labels."""

from localrules import ExperimentEntry, RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="softhebb",
            target="localrules_unsupervised.softhebb:SoftHebb",
            summary="Units compete for every input by softmax; the winner moves towards it.",
            reference="Journé, Garcia Rodriguez, Guo & Moraitis 2023, https://arxiv.org/abs/2209.11883",
            locality="local",
        ),
        RuleEntry(
            name="oja",
            target="localrules_unsupervised.oja:Oja",
            summary="Linear units learn the principal subspace of their input.",
            reference="Oja 1989, https://doi.org/10.1142/S0129065789000475",
            locality="local",
        ),
        RuleEntry(
            name="greedy-infomax",
            target="localrules_unsupervised.greedy_infomax:GreedyInfoMax",
            summary="A part of a feature map predicts which image the part below it is from.",
            reference="Löwe, O'Connor & Veeling 2019, https://arxiv.org/abs/1905.11786",
            locality="local",
        ),
        RuleEntry(
            name="clapp",
            target="localrules_unsupervised.clapp:CLAPP",
            summary="Two views of an image predict each other in every layer; views of other images do not.",
            reference="Illing, Ventura, Bellec & Gerstner 2021, https://arxiv.org/abs/2010.08262",
            locality="local",
        ),
        RuleEntry(
            name="scff",
            target="localrules_unsupervised.scff:SCFF",
            summary="Each layer is active for an image beside itself, inactive for one beside another image.",
            reference="Chen, Liu, Laydevant & Grollier 2025, https://arxiv.org/abs/2409.11593",
            locality="local",
        ),
    ]


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="published-softhebb",
            target="localrules_unsupervised.published:softhebb",
            summary="SoftHebb on MNIST with 2000 units; no published number was found.",
            reference="Journé, Garcia Rodriguez, Guo & Moraitis 2023, https://arxiv.org/abs/2209.11883",
            suite="published",
        ),
    ]
