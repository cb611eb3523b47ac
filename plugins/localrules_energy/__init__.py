"""Rules with states that settle, or with a target for each layer."""

from localrules import ExperimentEntry, RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="predictive-coding",
            target="localrules_energy.predictive_coding:PredictiveCoding",
            summary="Predictive coding: layers predict their own values, and errors settle before weights change.",
            reference="Rosenbaum 2022, https://arxiv.org/abs/2106.13082",
            locality="backprop",
        ),
        RuleEntry(
            name="difference-target-propagation",
            target="localrules_energy.difference_target_propagation:DifferenceTargetPropagation",
            summary="Every layer has a target, propagated down from the loss by learned inverses of the layers.",
            reference="Lee, Zhang, Fischer & Bengio 2015, https://arxiv.org/abs/1412.7525",
            locality="feedback",
        ),
        RuleEntry(
            name="equilibrium-propagation",
            target="localrules_energy.equilibrium_propagation:EquilibriumPropagation",
            summary="States settle freely, then nudged towards the label; weights learn from the difference.",
            reference="Scellier & Bengio 2017, https://arxiv.org/abs/1602.05179",
            locality="feedback",
        ),
        RuleEntry(
            name="dual-propagation",
            target="localrules_energy.dual_propagation:DualPropagation",
            summary="Units have two states, nudged in opposite directions; weights learn from their difference.",
            reference="Høier & Zach 2024, https://arxiv.org/abs/2402.08573",
            locality="backprop",
        ),
        RuleEntry(
            name="counter-current",
            target="localrules_energy.counter_current:CounterCurrent",
            summary="A second network carries the classes down, and each layer learns to agree with it.",
            reference="Kao & Hariharan 2024, https://arxiv.org/abs/2409.19841",
            locality="feedback",
        ),
    ]


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="published-predictive-coding",
            target="localrules_energy.published:predictive_coding",
            summary="Predictive coding on MNIST with fixed and with strict predictions; its source shows curves.",
            reference="Rosenbaum 2022, https://arxiv.org/abs/2106.13082",
            suite="published",
        ),
    ]
