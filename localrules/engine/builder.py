"""From a resolved run to live objects. Everything is looked up and validated already."""

from __future__ import annotations

import torch
from torch import Tensor

from localrules.config.schema import RunConfig
from localrules.core.model import Model
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.rule import Rule
from localrules.data.dataset import Dataset
from localrules.data.splits import split_holdout
from localrules.data.validate import check_dataset
from localrules.engine.layerwise import LayerwiseRule, ObjectiveSpec
from localrules.engine.mixture import check_patterns_used, part_index
from localrules.engine.network_cache import NetworkCache
from localrules.engine.resolved_run import Component, ResolvedRun, RulePart
from localrules.engine.rule_border import prepare_rule
from localrules.engine.windows import check_windows, layerwise_rule
from localrules.errors import UsageError
from localrules.utils.allocation_limit import AllocationLimit
from localrules.utils.plugin_border import definition, plugin_border

MAP_DIMS = 4  # of a batch of feature maps, and of the kernels of a convolution


def load_dataset(data: Component) -> Dataset:
    """A data set, in memory.

    Raises:
        DataError: The source is missing or damaged, or what it gives is not well formed.
    """
    source = data.build()
    with plugin_border(data.cls, "load"):
        found = source.load()
    return check_dataset(found, f"{data.cls.__module__}.{data.cls.__qualname__}, {definition(data.cls, 'load')}")


def load_run_dataset(config: RunConfig, data: Component) -> Dataset:
    """The data set of a run, with what it holds out of its training split in the place of the valid split."""
    found = load_dataset(data)
    fraction = config.holdout_fraction
    return split_holdout(found, fraction, config.holdout_seed) if fraction else found


def build_network_and_rule(
    run: ResolvedRun,
    shape: tuple[int, ...],
    num_classes: int,
    device: torch.device,
    networks: NetworkCache | None = None,
) -> tuple[Network, Rule]:
    """The network, initialised from the run's seed and with its layers marked, and the rule prepared for it.

    Args:
        run: The run.
        shape: One image's channels, height, width.
        num_classes: Number of classes.
        device: Where both are to be.
        networks: Networks that were built before; if given, the network is a copy of one of these.
    """

    def build() -> Network:
        return _build_network(run, shape, num_classes)

    network = (build() if networks is None else networks.copy_of(run, shape, num_classes, build)).to(device)
    if run.config.channels_last:
        network._apply(_channels_last)
    return network, _build_rule(run, network, num_classes).to(device)


def _channels_last(tensor: Tensor) -> Tensor:
    """Maps and kernels with their channels last; ``nn.Module.to`` asks the same of tensors that have no such layout."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == MAP_DIMS else tensor


def _build_network(run: ResolvedRun, shape: tuple[int, ...], num_classes: int) -> Network:
    torch.manual_seed(run.config.seed)
    with AllocationLimit():
        model: Model = run.model.build(shape, num_classes)
    with plugin_border(type(model), "forward"):
        return Network.wrap(model, granularity=run.config.granularity, example=torch.zeros(2, *shape))


def _build_rule(run: ResolvedRun, network: Network, num_classes: int) -> Rule:
    parts = run.rule_parts
    check_patterns_used(parts, [layer.name for layer in network.hidden])
    for part in parts:
        if reason := part.cls.info.requires.incompatibility(network):
            fix = f"`localrules rules show {part.name}` lists the models that fit"
            raise incompatible_error(part.name, run.model.name, reason, fix)
        if network.window > 1:
            check_windows(part.name, part.cls)
    if len(parts) == 1 and issubclass(parts[0].cls, Rule):
        rule = parts[0].build()
    else:
        rule = _layerwise_rule(parts, network, run.config.window_weight)
    assert isinstance(rule, Rule)
    with AllocationLimit():
        prepare_rule(rule, network, num_classes)
    return rule


def _layerwise_rule(parts: tuple[RulePart, ...], network: Network, window_weight: float) -> LayerwiseRule:
    """Objectives become a rule that trains each layer on the objective of its part."""
    for part in parts:
        if not issubclass(part.cls, Objective):
            raise UsageError(
                f"rule {part.name!r} cannot be mixed with others",
                where="--rule",
                why="it trains the whole network in a step of its own",
                fix="mix rules that are a layer's objective; this one trains all layers or none",
            )
    part_of = {layer.name: parts[part_index(parts, layer.name)] for layer in network.hidden}
    specs = {name: ObjectiveSpec(part.cls, part.config) for name, part in part_of.items()}
    return layerwise_rule(specs, network, window_weight)


def incompatible_error(rule: str, model: str, why: str, fix: str) -> UsageError:
    """The error for a rule and a network that do not go together."""
    where = f"--rule {rule} --model {model}"
    return UsageError(f"rule {rule!r} cannot train {model!r}", where=where, why=why, fix=fix)
