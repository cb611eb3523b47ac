"""All that a run needs, built and in place: data, network, rule, optimizers, phases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.data.augment import Augment
from localrules.data.batches import Batches
from localrules.data.dataset import DataSet
from localrules.engine.building import build_network, build_rule, load_data
from localrules.engine.config import RunConfig
from localrules.engine.optimizers import LayerOptimizers
from localrules.engine.phases import Phase, plan
from localrules.engine.ranks import Ranks

if TYPE_CHECKING:
    from localrules.plugins import Registry


@dataclass
class Session:
    """A run's live objects.

    Attributes:
        config: What was asked for.
        data: The data set.
        network, rule: On their device.
        batches: The training batches.
        optimizers: One a layer.
        ranks: Device and precision.
        phases: Which layers learn when.
        trainable: ``id`` of every parameter that may learn.
    """

    config: RunConfig
    data: DataSet
    network: Network
    rule: Rule
    batches: Batches
    optimizers: LayerOptimizers
    ranks: Ranks
    phases: list[Phase]
    trainable: frozenset[int]

    @classmethod
    def build(cls, config: RunConfig, registry: Registry, data: DataSet | None = None) -> Session:
        """Build everything from the configuration; the same configuration gives the same bits.

        Args:
            config: The run.
            registry: Where names are looked up.
            data: The data set, if it is in memory already.
        """
        torch.set_num_threads(config.threads)
        ranks = Ranks(config)
        _be_deterministic(ranks.device)
        data = load_data(config.data, registry) if data is None else data
        classes = len(data.classes)
        network = build_network(config, registry, data.shape, classes).to(ranks.device)
        if config.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rule = build_rule(config, registry, network, classes).to(ranks.device)
        augment = Augment(config.augment, mirrored=data.mirrored)
        batches = Batches(data.split("train"), config.batch_size, config.seed, ranks.device, augment=augment)
        owned = {layer.name: [*layer.parameters(), *rule.parameters_of(layer)] for layer in network.layers}
        optimizers = LayerOptimizers(owned, config.optimizer)
        phases = plan(config.phases, network, config.total_steps(batches.steps_per_epoch))
        trainable = frozenset(id(parameter) for parameter in network.parameters() if parameter.requires_grad)
        return cls(config, data, network, rule, batches, optimizers, ranks, phases, trainable)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.phases[-1].stop

    def arranged(self, images: Tensor) -> Tensor:
        """Pictures in the memory layout of the run."""
        return images.contiguous(memory_format=torch.channels_last) if self.config.channels_last else images

    def reduce_gradients(self, layer: Layer) -> None:
        """Average a layer's gradients over ranks."""
        self.ranks.average([*layer.parameters(), *self.rule.parameters_of(layer)])

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode without gradients, in the run's precision; every module's mode is put back afterwards."""
        modules = [*self.network.model.modules(), *self.rule.modules()]
        modes = [module.training for module in modules]
        for module in modules:
            module.training = False
        try:
            with torch.no_grad(), self.ranks.forward_context():
                yield
        finally:
            for module, training in zip(modules, modes, strict=True):
                module.training = training


def _be_deterministic(device: torch.device) -> None:
    # On a GPU some pooling has no deterministic backward pass; there, bits may differ from run to run.
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Filling fresh memory guards against reading it unset, and costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
