"""Checks, before any work, that several processes can train a run."""

from __future__ import annotations

from torch import nn

from localrules.config.schema import RunConfig
from localrules.core.locality import LOCALITY_DESCRIPTIONS, is_within
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.rule import LayerParallel, Rule, is_state_of
from localrules.engine.device import is_cpu
from localrules.engine.resolved_run import ResolvedRun, RulePart
from localrules.engine.split_batch import check_parallel
from localrules.errors import UsageError

STEPWISE = ("gradient", "update", "angle", "histograms")  # diagnostics that need all layers of a step in one process


def check_processes(run: ResolvedRun) -> None:
    """Refuse a run that its processes cannot divide among them.

    Raises:
        UsageError: With the setting that stands against it.
    """
    config = run.config
    if config.devices == 1:
        return
    _check_stage_count(config)
    if config.stage_count > 1:
        _check_layers(run)
    check_parallel(run)


def _check_stage_count(config: RunConfig) -> None:
    stages, where = config.stages, f"--devices {config.devices}, stages={config.stages}"
    if config.parallel == "data" and stages is not None and stages > 1:
        raise UsageError(
            "there are stages where processes divide the layers, and here they divide each batch",
            where=where,
            why=f"stages={stages} means that {stages} processes train one part of the layers each",
            fix="add --parallel layers, or leave out stages",
        )
    if config.devices % config.stage_count:
        raise UsageError(
            f"{config.devices} processes cannot form groups of {stages}",
            where=where,
            why="each group divides the layers in as many stages, and trains on its part of every batch",
            fix="choose devices as a multiple of stages, or leave out stages",
        )


def _check_layers(run: ResolvedRun) -> None:
    config = run.config
    for part in run.rule_parts:
        if why := _reason_against(part):
            raise UsageError(
                f"processes cannot divide the layers that rule {part.name!r} trains",
                where="--parallel layers",
                why=why,
                fix="leave it out: --devices then divides each batch",
            )
    if run.window > 1 and config.precision == "fp16":
        raise UsageError(
            "processes cannot divide layers that learn in windows and in fp16",
            where=f"--parallel layers, granularity {config.granularity}, --precision fp16",
            why="gradients that cross borders have one scale in all layers, which processes do not share",
            fix="choose --precision bf16 or fp32, or leave out one of the others",
        )
    stands_against = {
        "parallel_layers": config.parallel_layers > 1,
        "audit": config.audit,
        f"device {config.device}": not is_cpu(config.device),
        **{f"diagnostic {name}": name in config.diagnostics for name in STEPWISE},
    }
    for setting, given in stands_against.items():
        if given:
            of_device = setting.startswith("device ")
            raise UsageError(
                f"{setting} does not go together with processes that divide the layers",
                where="--parallel layers",
                why="this is built and tested for CPUs" if of_device else "it needs a step's layers in one process",
                fix=f"choose {'--device cpu' if of_device else 'one of them'}, or leave out --parallel layers",
            )


def _reason_against(part: RulePart) -> str:
    """The reason why processes cannot divide the layers that a rule trains; empty if they can."""
    info = part.cls.info
    if not is_within(info.locality, "window"):
        return f"its class of locality is {info.locality}: {LOCALITY_DESCRIPTIONS[info.locality]}"
    if info.window > 1:
        return "a layer reads the weights of the layer above it, which another process may train"
    if not issubclass(part.cls, (Objective, LayerParallel)):
        return "it takes the step of the whole network itself, and does not derive from LayerParallel"
    return ""


def check_stages(count: int, network: Network, rule: Rule) -> None:
    """Refuse a network, or a rule prepared for it, that cannot be divided among processes by layers.

    Raises:
        UsageError: It has too few layers, or state that no layer owns.
    """
    layers = network.layers
    if count > len(layers):
        raise UsageError(
            f"{count} processes cannot divide {len(layers)} layers",
            where="--parallel layers",
            why="each trains at least one",
            fix=f"choose --devices {len(layers)} or fewer, or as many stages, or a finer --granularity",
        )
    owned = {id(module) for layer in layers for module in layer.module.modules()}
    for name, module in network.model.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and id(module) not in owned and _keeps_state(module):
            raise UsageError(
                f"norm {name!r} stands between the layers",
                where="--parallel layers",
                why="its running statistics belong to no layer, and so to no process",
                fix="put it into a layer, or leave out --parallel layers",
            )
    for name in rule.state_dict():
        if not any(is_state_of(name, layer) for layer in layers):
            raise UsageError(
                f"{name!r} of {type(rule).__name__} belongs to no layer",
                where="--parallel layers",
                why="every process would keep another one",
                fix="register it under a state_key of a layer, or leave out --parallel layers",
            )


def _keeps_state(norm: nn.modules.batchnorm._NormBase) -> bool:
    return norm.running_mean is not None
