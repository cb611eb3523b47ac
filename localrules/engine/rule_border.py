"""One step, or one prediction, by a rule whose code is a plugin's: whatever it does wrong is one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn.parameter import UninitializedParameter

from localrules.core.network import Network
from localrules.core.rule import Context, Rule, StepReport
from localrules.core.view import Batch
from localrules.engine.layerwise import LayerwiseRule
from localrules.engine.rule_values import inplace_error, scalar_problem, version
from localrules.errors import PluginCodeError
from localrules.utils.plugin_border import definition, plugin_border, wrong_result

if TYPE_CHECKING:
    from localrules.core.objective import Objective


def training_classes(rule: Rule) -> list[type[Objective] | type[Rule]]:
    """The classes that train the layers: the rule's, or those of its objectives."""
    return [*rule.objective_classes] if isinstance(rule, LayerwiseRule) else [type(rule)]


def rule_border(rule: Rule, network: Network | None, method: str) -> plugin_border:
    """The border around a method of a rule, and of the network that it runs.

    Args:
        rule: The rule.
        network: The network; ``None`` where none of its code runs.
        method: The method of :class:`~localrules.Rule`; of objectives the one that it calls is named.
    """
    if isinstance(rule, LayerwiseRule):
        method = _OF_OBJECTIVES.get(method, method)
    owners: list[Any] = [*training_classes(rule)]
    if network is not None:
        owners.append(type(network.model))
    return plugin_border(owners, method)


_OF_OBJECTIVES = {"step": "forward", "prepare": "__init__"}


def prepare_rule(rule: Rule, network: Network, num_classes: int) -> None:
    """Let a rule make what it needs for a network.

    Raises:
        PluginCodeError: It failed, or made parameters without a shape.
    """
    with rule_border(rule, network, "prepare"):
        rule.prepare(network, num_classes)
    rule.is_prepared = True
    lazy = [name for name, parameter in rule.named_parameters() if isinstance(parameter, UninitializedParameter)]
    if lazy:
        owner = training_classes(rule)[0]
        raise PluginCodeError(
            f"{owner.__name__} made parameters without a shape",
            where=f"{lazy[0]}, made by {definition(owner, '__init__')}",
            why="a lazy module has parameters after its first forward pass; the layer's optimizer is made before",
            fix="build the module with its sizes: layer.out_shape and num_classes are known by then",
        )


def run_step(rule: Rule, network: Network, batch: Batch, context: Context) -> StepReport:
    """The rule's step on a batch.

    Raises:
        PluginCodeError: The step failed, changed the labels, or reports what cannot be logged.
    """
    before = version(batch.labels)
    report = rule.step(network, batch, context)
    if version(batch.labels) != before:
        raise inplace_error(training_classes(rule)[0], "step", "the batch's labels")
    _check_report(rule, report)
    return report


def _check_report(rule: Rule, report: Any) -> None:
    if isinstance(rule, LayerwiseRule):
        return
    if not isinstance(report, StepReport):
        raise wrong_result(type(rule), "step", "a StepReport", f"an object of type {type(report).__name__}")
    scalars = {f"objectives[{key!r}]": value for key, value in report.objectives.items()}
    scalars |= {f"metrics[{key!r}]": value for key, value in report.metrics.items()}
    if report.loss is not None:
        scalars["loss"] = report.loss
    for name, value in scalars.items():
        if problem := scalar_problem(value):
            raise wrong_result(type(rule), "step", "scalar tensors in its report", f"{problem} as {name}")
