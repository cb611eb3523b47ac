"""Rules that learn from forward passes alone."""

from localrules import ExperimentEntry, RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="forward-forward",
            target="localrules_forward.forward_forward:ForwardForward",
            summary="Each layer is active for an image with its own label, inactive for one with a wrong label.",
            reference="Hinton 2022, https://arxiv.org/abs/2212.13345",
            locality="local-labels",
        ),
        RuleEntry(
            name="pepita",
            target="localrules_forward.pepita:Pepita",
            summary="The error is added to the image; each layer learns from a second pass.",
            reference="Dellaferrera & Kreiman 2022, https://arxiv.org/abs/2201.11665",
            locality="broadcast-error",
        ),
    ]


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="published-forward-forward",
            target="localrules_forward.published:forward_forward",
            summary="Forward-forward on MNIST: peer normalisation, and a threshold on the mean.",
            reference="Hinton 2022, https://arxiv.org/abs/2212.13345",
            suite="published",
        ),
        ExperimentEntry(
            name="published-pepita",
            target="localrules_forward.published:pepita",
            summary="PEPITA on MNIST and Fashion-MNIST as its code trains it; no published number was found.",
            reference="Dellaferrera & Kreiman 2022, https://arxiv.org/abs/2201.11665",
            suite="published",
        ),
    ]
