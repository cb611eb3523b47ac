"""A simulation of layer-parallel training on several GPUs, beside data and pipeline parallelism.

    python examples/studies/simulate_scaling.py                    # prints the tables of docs/benchmarks/scaling.md
    python examples/studies/simulate_scaling.py --write            # writes them, and the plot, below docs/
    python examples/studies/simulate_scaling.py --model vit_small --batch 256 --gpus 8 --machine h200

It replays the work of each layer, which ``measure_layers.py`` has counted and timed on a CPU, on GPUs and links with
stated speeds (``scaling_model.py``), and finds when each computes, waits and sends (``scaling_schedules.py``).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scaling_model import (
    BACKPROP,
    GRID,
    LAYERS,
    MACHINES,
    PARTS,
    LayerWork,
    Machine,
    fastest,
    kinds,
    layer_parallel,
    one_gpu,
    read_layers,
)

from localrules.utils.plotting import new_figure, plain_axes, save_figure

DOCS = Path(__file__).resolve().parents[2] / "docs"
MEASURED = DOCS / "benchmarks" / "measured"
NETWORKS = {"resnet110": "ResNet-110, 32 x 32", "vit_small": "ViT-S/16, 224 x 224"}
BATCHES = tuple(2**power for power in range(5, 14))


def timed_on_cpu(layers: Sequence[LayerWork], batch: int, machine: Machine) -> list[LayerWork]:
    """The same layers with times in the proportions that the CPU has measured, and back-propagation as long as before.

    Each part's time is proportional to the batch then.
    """
    measured = sum(layer.counts[f"{part}_seconds"] for layer in layers for part in BACKPROP)
    scale = one_gpu(layers, batch, machine, BACKPROP) / measured / batch * machine.flops * machine.flops_fraction
    nothing = {f"{part}_{what}": 0.0 for part in PARTS for what in ("bytes", "bytes_fixed", "operations_fixed")}
    return [
        replace(
            layer,
            counts=layer.counts
            | nothing
            | {f"{part}_flops": scale * layer.counts[f"{part}_seconds"] for part in PARTS},
        )
        for layer in layers
    ]


def comparison(layers: Sequence[LayerWork], gpus: int, batch: int, machine: Machine) -> list[list[str]]:
    """A table of all kinds of parallelism: a heading and a row for each."""
    rows = [
        [
            f"{gpus} GPUs, batch {batch}",
            "step, ms",
            "images/s",
            "to DDP",
            "to one GPU",
            "bubble",
            "border, MB",
            "averaged, MB",
            "memory, GB",
        ]
    ]
    found = [kind(layers, batch, machine) for kind in kinds(gpus).values()]
    reference = found[0]
    assert reference is not None
    for result in filter(None, found):
        alone = one_gpu(layers, batch, machine, ["local"] if "local" in result.name else BACKPROP)
        rows.append(
            [
                result.name,
                f"{1e3 * result.step:.2f}",
                f"{batch / result.step:.0f}",
                f"{reference.step / result.step:.2f}",
                f"{alone / result.step:.2f}",
                f"{result.bubble:.2f}",
                f"{result.border / 1e6:.1f}",
                f"{result.reduced / 1e6:.1f}",
                f"{result.memory / 1e9:.2f}",
            ]
        )
    return rows


def sensitivity(networks: dict[str, list[LayerWork]], gpus: int, batch: int, machine: Machine) -> list[list[str]]:
    """The ratios after a change of one assumption; a column for each network and ratio."""
    changed: dict[str, Machine] = {
        "as above": machine,
        "H200: memory of 4.8 TB/s": replace(machine, bandwidth=4.8e12),
        "products at 0.25 of the peak": replace(machine, flops_fraction=0.25),
        "products at 0.75 of the peak": replace(machine, flops_fraction=0.75),
        "2 us an operation": replace(machine, operation=2e-6),
        "10 us an operation": replace(machine, operation=10e-6),
        "memory at 0.4 of its bandwidth": replace(machine, bandwidth_fraction=0.4),
        "all links 45 GB/s": replace(machine, nvlink=machine.infiniband),
        "all links 5 GB/s": replace(machine, nvlink=5e9, infiniband=5e9),
        "latency 100 us": replace(machine, latency=100e-6),
        "layers' times in the CPU's proportions": machine,
    }
    rows = [[f"{gpus} GPUs, batch {batch}"]]
    rows[0] += [f"{name}: {what}" for name in networks for what in ("to DDP", "to 1F1B", "bubble")]
    of = kinds(gpus)
    for name, other in changed.items():
        row = [name]
        for layers in networks.values():
            taken = timed_on_cpu(layers, batch, machine) if "CPU" in name else layers
            local = fastest([of[kind](taken, batch, other) for kind in (LAYERS, GRID)])
            assert local is not None
            for kind in ("DDP", "1F1B"):
                result = of[kind](taken, batch, other)
                row.append("" if result is None else f"{result.step / local.step:.2f}")
            row.append(f"{local.bubble:.2f}")
        rows.append(row)
    return rows


def limits(networks: dict[str, list[LayerWork]], machine: Machine) -> list[list[str]]:
    """The limits of layer-parallel training, for each network and number of GPUs."""
    rows = [["network", "GPUs", "ahead of DDP", "ahead of the local rule, data", "border, GB/s"]]
    for name, layers in networks.items():
        for gpus in (2, 4, 8, 16, 32):
            of, batches = kinds(gpus), [batch for batch in BATCHES if batch >= gpus]
            own = {batch: fastest(of[kind](layers, batch, machine) for kind in (LAYERS, GRID)) for batch in batches}
            row = [NETWORKS[name], str(gpus)]
            for kind in ("DDP", "local rule, data"):
                others = {batch: of[kind](layers, batch, machine) for batch in batches}
                row.append(_ranges([own[batch].step < others[batch].step for batch in batches], batches))  # type: ignore[union-attr]
            whole = layer_parallel(layers, 1024, gpus, machine)
            row.append("-" if whole is None else f"{whole.border / whole.step / 1e9:.1f}")
            rows.append(row)
    return rows


def _ranges(ahead: Sequence[bool], batches: Sequence[int]) -> str:
    """The batches at which something holds, in words."""
    found = [batch for batch, yes in zip(batches, ahead, strict=True) if yes]
    if not found:
        return "none"
    if len(found) == len(batches):
        return "all"
    if found == [batch for batch in batches if batch <= found[-1]]:
        return f"up to {found[-1]}"
    return (
        f"from {found[0]}" if found == [batch for batch in batches if batch >= found[0]] else ", ".join(map(str, found))
    )


def plot(networks: dict[str, list[LayerWork]], machine: Machine, file: Path) -> None:
    """Images a second against the batch, for each network on one node and on four."""
    figure = new_figure(8, 5.6)
    axes = figure.subplots(len(networks), 2)
    for (name, layers), line in zip(networks.items(), axes, strict=True):
        for gpus, place in zip((8, 32), line, strict=True):
            plain_axes(place, f"{NETWORKS[name]}, {gpus} GPUs", x="batch of all GPUs", y="images a second")
            for colour, (kind, train) in enumerate(kinds(gpus).items()):
                points = [(batch, train(layers, batch, machine)) for batch in BATCHES if batch >= gpus]
                shown = [(batch, batch / found.step) for batch, found in points if found is not None]
                if shown:
                    place.plot(*zip(*shown, strict=True), marker="o", markersize=3, color=f"C{colour}", label=kind)
            place.set_xscale("log", base=2)
            place.set_yscale("log")
    axes[0][0].legend(fontsize=7, frameon=False)
    save_figure(figure, file, of="simulated: examples/studies/simulate_scaling.py --write")


def tables(machine: Machine) -> dict[str, list[list[str]]]:
    """All tables of the page, by the name of their file."""
    networks = {name: read_layers(MEASURED / f"layers-{name}.csv") for name in NETWORKS}
    found = {
        f"scaling-{name}-{gpus}": comparison(layers, gpus, batch, machine)
        for name, layers in networks.items()
        for gpus, batch in ((8, 1024), (32, 4096))
    }
    return found | {
        "scaling-sensitivity": sensitivity(networks, 8, 1024, machine),
        "scaling-limits": limits(networks, machine),
    }


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables and the plot of the page")
    parser.add_argument("--machine", choices=MACHINES, default="h100", help="kind of GPU")
    parser.add_argument("--model", choices=NETWORKS, help="print one table, of this network")
    parser.add_argument("--gpus", type=int, default=8, help="of that table")
    parser.add_argument("--batch", type=int, default=1024, help="of that table")
    asked = parser.parse_args()
    machine = MACHINES[asked.machine]
    if asked.model:
        layers = read_layers(MEASURED / f"layers-{asked.model}.csv")
        csv.writer(sys.stdout).writerows(comparison(layers, asked.gpus, asked.batch, machine))
        return
    for name, rows in tables(machine).items():
        if asked.write:
            with (MEASURED / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
        else:
            csv.writer(sys.stdout).writerows([[name], *rows, []])
    if asked.write:
        networks = {name: read_layers(MEASURED / f"layers-{name}.csv") for name in NETWORKS}
        plot(networks, machine, DOCS / "images" / "scaling.png")


if __name__ == "__main__":
    main()
