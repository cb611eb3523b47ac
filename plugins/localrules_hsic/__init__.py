"""The HSIC bottleneck: each layer keeps what depends on the labels and drops what depends on the input."""

from localrules import ExperimentEntry, RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="hsic",
            target="localrules_hsic.hsic:HSIC",
            summary="HSIC bottleneck in the trace form: HSIC(Z, X) - beta HSIC(Z, Y) in every layer.",
            reference=(
                "Han et al. 2023, https://doi.org/10.12677/sea.2023.122019, "
                "after Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580"
            ),
            locality="local-labels",
        ),
        RuleEntry(
            name="hsic-normalized",
            target="localrules_hsic.hsic_normalized:NormalizedHSIC",
            summary="HSIC bottleneck on the normalised measure tr(R_Z R_Y), R = K (K + eps m I)^-1.",
            reference="Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580",
            locality="local-labels",
        ),
        RuleEntry(
            name="hsic-projected",
            target="localrules_hsic.hsic_projected:ProjectedHSIC",
            summary="HSIC bottleneck on a learned projection of each layer's output.",
            reference="after Li et al. 2021, https://arxiv.org/abs/2106.08320, and Ma, Lewis & Kleijn 2020",
            locality="local-labels",
        ),
        RuleEntry(
            name="phsic",
            target="localrules_hsic.phsic:PHSIC",
            summary="Plausible HSIC: pHSIC(Z, Z) - gamma pHSIC(Z, Y), whose update needs only pairs of samples.",
            reference="Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123",
            locality="local-labels",
        ),
    ]


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="published-hsic",
            target="localrules_hsic.published:hsic",
            summary="The HSIC bottleneck on MNIST and Fashion-MNIST: seven fully connected layers.",
            reference="Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580",
            suite="published",
        ),
        ExperimentEntry(
            name="published-phsic",
            target="localrules_hsic.published:phsic",
            summary="pHSIC on MNIST and Fashion-MNIST: two kernels, grouping, divisive normalisation, three layers.",
            reference="Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123",
            suite="published",
        ),
    ]
