"""Which layers learn when."""

from __future__ import annotations

from collections.abc import Sequence

from localrules.config.schema import PhaseConfig
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.phase import Phase
from localrules.core.rule import Rule
from localrules.engine import patterns
from localrules.engine.layerwise import LayerwiseRule
from localrules.errors import UsageError


def build_phases(configs: Sequence[PhaseConfig], network: Network, rule: Rule, total_steps: int) -> list[Phase]:
    """Lay the phases out over a run, each with its fraction of the steps and at least one.

    Raises:
        UsageError: Two phases of one name, one in which nothing learns, fewer steps than phases, a pattern that fits
            no layer, or auxiliary modules that are to learn where there are none.
    """
    names = [config.name for config in configs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"two phases are called {twice!r}",
            where=f"phases {', '.join(names)}",
            why="progress and metrics tell phases apart by their names",
            fix="give each a name of its own",
        )
    for config in configs:
        if not config.train_layers:
            raise UsageError(
                f"no layer learns in phase {config.name!r}",
                where="train_layers=[]",
                why="the list is empty",
                fix="name layers or patterns, or all, hidden or readout",
            )
        if config.auxiliary and not (
            isinstance(rule, LayerwiseRule) and any(own.requires_grad for own in rule.objectives.parameters())
        ):
            raise UsageError(
                "there are no auxiliary modules that could go on learning",
                where=f"phase {config.name!r}, auxiliary=true",
                why="its objectives have no parameters, or it trains the whole network in a step of its own",
                fix="leave it out",
            )
    if total_steps < len(configs):
        raise UsageError(
            f"{len(configs)} phases do not fit into {total_steps} steps",
            where=", ".join(config.name for config in configs),
            why="each phase needs a step at least",
            fix=f"train for {len(configs)} steps or more, or choose --set phases=joint",
        )
    whole = sum(config.fraction for config in configs)
    phases: list[Phase] = []
    start, until = 0, 0.0
    for index, config in enumerate(configs):
        until += config.fraction
        left = len(configs) - index - 1
        stop = min(max(round(total_steps * until / whole), start + 1), total_steps - left)
        named = _named_layers(config, network)
        learning = frozenset(layer.name for layer in named if any(p.requires_grad for p in layer.parameters()))
        frozen = frozenset(layer.name for layer in named) - learning
        if not config.auxiliary and all(
            layer.is_readout and not rule.trains(layer) and not any(rule.parameters_for(layer)) for layer in named
        ):
            raise UsageError(
                f"nothing learns in phase {config.name!r}",
                where=f"phase {config.name!r}",
                why="it names the readout alone, which this rule does not train: it predicts in another way",
                fix="leave the phase out, e.g. --set phases=joint",
            )
        phases.append(Phase(config.name, start, stop, learning, _cost(learning, network), config.auxiliary, frozen))
        start = stop
    return phases


def cost_until(phases: Sequence[Phase], step: int) -> float:
    """The cost of the steps before ``step``, in forward passes of the network."""
    return sum(phase.cost * max(0, min(step, phase.stop) - phase.start) for phase in phases)


def _named_layers(config: PhaseConfig, network: Network) -> Sequence[Layer]:
    named: dict[str, Sequence[Layer]]
    named = {"all": network.layers, "hidden": network.hidden, "readout": (network.readout,)}
    if isinstance(config.train_layers, str):
        return named[config.train_layers]
    patterns.check_patterns_used(
        config.train_layers, [layer.name for layer in network.layers], f"phase {config.name!r}, learns"
    )
    return [layer for layer in network.layers if patterns.first_match(config.train_layers, layer.name) is not None]


def _cost(learning: frozenset[str], network: Network) -> float:
    whole = sum(layer.macs for layer in network.layers)
    learns = sum(layer.macs for layer in network.layers if layer.name in learning)
    return 1 + 2 * learns / whole if whole else 1.0


def apply_phase(phase: Phase, network: Network, trainable: frozenset[int]) -> None:
    """Put learning layers into training mode, and freeze the others: eval mode, no gradient, buffers still.

    Inside a layer that learns, modules whose parameters are all frozen by their author run in eval mode, too.

    Args:
        phase: The phase that begins.
        network: The network.
        trainable: ``id`` of every parameter that its author did not freeze; the others stay frozen.
    """
    network.train()
    for layer in network.layers:
        learns = phase.is_trainable(layer)
        layer.module.train(learns)
        for module in layer.module.modules() if learns else ():
            if (own := list(module.parameters())) and not any(id(parameter) in trainable for parameter in own):
                module.eval()
        for parameter in layer.parameters():
            parameter.requires_grad_(learns and id(parameter) in trainable)
