"""The measurements of ``localrules bench``: time, memory, memory against depth, and the input pipeline's share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from localrules.benchmark.candidates import HAND_WRITTEN, Candidate, engine_step, noise_dataset, plain_pytorch_step
from localrules.benchmark.measure import device_fraction, step_memory, step_work, time_interleaved
from localrules.config.overrides import Tree, merge
from localrules.config.schema import RunConfig
from localrules.core.objective import Objective
from localrules.data.augment import Augment
from localrules.data.batches import Batches
from localrules.engine.device import warn_if_slower_than_asked
from localrules.engine.resolve import resolve_run
from localrules.engine.resolved_run import ResolvedRun
from localrules.utils.bootstrap import ratio_bootstrap

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

CONTROL = "backprop"
SIDE, CLASSES, ROWS = 48, 7, 1024
DEPTHS = (2, 6)


def bench(
    rules: Sequence[str], settings: Tree, registry: Registry, rounds: int, side: int = SIDE, parallel_layers: int = 1
) -> dict[str, Any]:
    """Time and weigh rules against back-propagation, on random grey images. Each rule runs with its own defaults.

    Args:
        rules: Names; ``backprop`` and the loop written by hand are always there. ``NAME@block`` runs at granularity
            ``block``.
        settings: Settings of the run that all share: model, batch size, precision, threads.
        registry: Where names are looked up.
        rounds: Timed steps of each.
        side: Of the images.
        parallel_layers: Of rules that are a layer's objective, which then share the threads out among as many layers.

    Returns:
        ``contenders``: for each, ``name, step_seconds, ratio`` (to ``backprop``: median, low, high), the floors of that
        ratio ``macs_ratio`` where arithmetic takes the time and ``bytes_ratio`` where memory does, ``device_fraction``
        (the fraction of the step in which the device computes), ``peak_memory_mib, memory_ratio``; ``input_share``; and
        ``settings``.
    """
    data = noise_dataset((1, side, side), CLASSES, max(ROWS, settings.get("batch_size", 128)))
    names = [CONTROL, *[name for name in rules if name != CONTROL]]
    control = _resolve(CONTROL, settings, registry)
    config = control.config
    candidates = [plain_pytorch_step(control, data)]
    warn_if_slower_than_asked(config, candidates[0].device)
    for name in names:
        own = _at_once(name, settings, registry, parallel_layers)
        candidates.append(engine_step(name, _resolve(name, own, registry), data))
    memory = {candidate.name: step_memory(candidate) for candidate in candidates}
    counted = candidates
    if parallel_layers > 1:  # operations are counted in one thread, so that layers take their turns for it
        in_turn = merge(settings, {"parallel_layers": 1})
        counted = [candidates[0], *(engine_step(name, _resolve(name, in_turn, registry), data) for name in names)]
    work = {candidate.name: step_work(candidate) for candidate in counted}
    fractions = {candidate.name: device_fraction(candidate) for candidate in candidates}
    seconds = time_interleaved(candidates, rounds)
    return {
        "settings": {
            "model": config.model.name,
            "batch_size": config.batch_size,
            "precision": config.precision,
            "threads": config.threads,
            "rounds": rounds,
            "side": side,
            "parallel_layers": parallel_layers,
        },
        "contenders": [
            {
                "name": name,
                "step_seconds": median(times.tolist()),
                "ratio": asdict(ratio_bootstrap(times, seconds[CONTROL])),
                "ratio_to_hand": asdict(ratio_bootstrap(times, seconds[HAND_WRITTEN])),
                "macs_ratio": work[name].macs / work[CONTROL].macs,
                "bytes_ratio": work[name].bytes / work[CONTROL].bytes,
                "device_fraction": fractions[name],
                "peak_memory_mib": memory[name],
                "memory_ratio": memory[name] / memory[CONTROL],
            }
            for name, times in seconds.items()
        ],
        "input_share": _input_seconds(config, data) / median(seconds[CONTROL].tolist()),
    }


def depth(rules: Sequence[str], settings: Tree, registry: Registry) -> list[dict[str, Any]]:
    """Peak memory of a step with few and with many blocks, for models that have ``blocks``."""
    rows = []
    data = noise_dataset((1, SIDE, SIDE), CLASSES, max(ROWS, settings.get("batch_size", 128)))
    for name in [CONTROL, *[name for name in rules if name != CONTROL]]:
        row: dict[str, Any] = {"name": name}
        for blocks in DEPTHS:
            deep = merge(settings, {"model": {"blocks": blocks}})
            candidate: Candidate = engine_step(name, _resolve(name, deep, registry), data)
            row[f"blocks_{blocks}"] = step_memory(candidate)
        row["growth"] = row[f"blocks_{DEPTHS[-1]}"] / row[f"blocks_{DEPTHS[0]}"]
        rows.append(row)
    return rows


def _at_once(name: str, settings: Tree, registry: Registry, layers: int) -> Tree:
    """The settings with which a rule's layers learn at the same time, if they can."""
    if not issubclass(registry.resolve("rule", name.partition("@")[0]), Objective):
        return settings
    return merge(settings, {"parallel_layers": layers, "threads": max(1, settings.get("threads", 1) // layers)})


def _resolve(name: str, settings: Tree, registry: Registry) -> ResolvedRun:
    rule, _, granularity = name.partition("@")
    asked = merge({"rule": rule, "data": "noise", "granularity": "layer", "steps": 10_000}, settings)
    named = {"granularity": granularity} if granularity else {}
    return resolve_run(merge(asked, named), registry, network_only=True)


def _input_seconds(config: RunConfig, data: Any) -> float:
    batches = Batches(data.split("train"), config.batch_size, 0, augment=Augment(config.augment))
    seconds = []
    for step in range(50):
        began = time.perf_counter()
        batches.batch(step)
        seconds.append(time.perf_counter() - began)
    return median(seconds)
