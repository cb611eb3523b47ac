"""Cutting a traced network into parts: behind every weight-bearing operation, or into K of nearly equal cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, fx, nn

from localrules.core.layer import Layer
from localrules.core.tracing import is_input_only, trace, weight_bearing
from localrules.errors import UsageError


class PartitionedModule(nn.Module):
    """Runs the parts of a cut network one after the other, and lets go of each value behind its last reader."""

    def __init__(self, parts: Sequence[fx.GraphModule], reads: list[list[str]], writes: list[list[str]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._reads, self._writes = reads, writes
        last_reader = {name: index for index, names in enumerate(reads) for name in names}
        self._spent = [[name for name in names if last_reader[name] == index] for index, names in enumerate(reads)]

    def forward(self, images: Tensor) -> Tensor:
        values: dict[str, Any] = {INPUT: images}
        output: Any = None
        for part, reads, writes, spent in zip(self.parts, self._reads, self._writes, self._spent, strict=True):
            output = part(*[values[name] for name in reads])
            for name in spent:
                del values[name]
            values.update(zip(writes, output if len(writes) > 1 else (output,), strict=True))
        return output


INPUT = "the network's input"


Grouping = Callable[[Sequence[str]], Sequence[int]]
"""The part of each unit, given the units' names in the order in which they run; parts count from 0 and never fall."""


def partition_graph(
    model: nn.Module, units: Sequence[Layer], grouping: Grouping | None = None
) -> tuple[list[Layer], PartitionedModule]:
    """Cut a model's graph into layers.

    Args:
        model: Any module that ``torch.fx`` can trace.
        units: The model's marked layers, kept whole. If empty, every weight-bearing operation starts a unit, and what
            follows it (norm, activation, pooling, and the sums and concatenations it takes part in) joins it.
        grouping: Merges the hidden units into parts, the readout apart; ``None`` keeps every unit.

    Returns:
        The layers in forward order, the last unit being the readout, and a module that runs them.

    Raises:
        UsageError: The model cannot be traced.
    """
    graph = trace(model, [unit.name for unit in units])
    unit_of, names = _units(model, graph, {unit.name for unit in units})
    grid = {unit.name: unit.pool_size for unit in units}
    pool_size = {node: grid.get(names[unit]) for node, unit in unit_of.items()}
    if grouping is None:
        part_of_unit = list(range(len(names)))
    else:
        groups = grouping(names[:-1])
        parts = max(groups) + 1
        part_of_unit = [*groups, parts]
        names = [_part_name([n for n, g in zip(names, part_of_unit, strict=True) if g == p]) for p in range(parts + 1)]
    return _build_layers(model, graph, {node: part_of_unit[unit] for node, unit in unit_of.items()}, names, pool_size)


def _part_name(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"


def _units(model: nn.Module, graph: fx.Graph, marked: set[str]) -> tuple[dict[fx.Node, int], list[str]]:
    """The unit of every node that computes something, and each unit's name.

    Units are numbered in the order in which their weight-bearing operation runs, and a node without weights joins
    the latest unit it reads, so values only ever flow from lower numbers to higher ones: any cut is free of loops.
    """
    unit_of: dict[fx.Node, int] = {}
    names: list[str] = []
    for node in graph.nodes:
        if node.op in ("placeholder", "output", "get_attr"):
            continue
        starts = str(node.target) in marked if marked else weight_bearing(model, node)
        if starts:
            names.append(str(node.target) if node.op == "call_module" else node.name)
            unit_of[node] = len(names) - 1
        else:
            unit_of[node] = max((unit_of[source] for source in node.all_input_nodes if source in unit_of), default=0)
    if len(names) < 2:
        raise UsageError(
            f"{type(model).__name__} has fewer than two weight-bearing operations",
            why="a network needs at least one layer below its readout",
        )
    return unit_of, names


def _build_layers(
    model: nn.Module,
    graph: fx.Graph,
    part_of: dict[fx.Node, int],
    names: list[str],
    pool_size: Mapping[fx.Node, int | None],
) -> tuple[list[Layer], PartitionedModule]:
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(result, fx.Node) or part_of.get(result) != len(names) - 1:
        raise UsageError(
            f"the output of {type(model).__name__} is not that of its last operation",
            why="a network returns its readout's logits and nothing else",
            fix="return one tensor of shape (batch, classes)",
        )
    modules, reads, writes, layers = [], [], [], []
    empty: set[fx.Node] = set()
    for node in part_of:  # in the order in which they run
        if is_input_only(model, node, empty):
            empty.add(node)
    for index, name in enumerate(names):
        inside = [node for node in graph.nodes if part_of.get(node) == index]
        sources = list(dict.fromkeys(s for n in inside for s in n.all_input_nodes if s not in inside))
        inputs = [source for source in sources if source.op != "get_attr"]
        outputs = [n for n in inside if n is result or any(u.op != "output" and u not in inside for u in n.users)]
        ends = _final_outputs(outputs, inside, empty)
        if not ends:
            raise UsageError(
                f"nothing reads the output of {name!r}",
                where=f"forward of {type(model).__name__}",
                why="a layer learns for its readers; this one has none",
                fix="leave it out of forward and freeze it with requires_grad_(False), or mark the layers by hand",
            )
        module = _build_part(model, inside, sources, outputs)
        modules.append(module)
        reads.append([INPUT if source.op == "placeholder" else source.name for source in inputs])
        writes.append([node.name for node in outputs])
        grids = tuple(pool_size[outputs[end]] for end in ends)
        layer = Layer(
            name, module, is_readout=index == len(names) - 1, index=index, output_indices=ends, output_pool_sizes=grids
        )
        layers.append(replace(layer, pool_size=grids[0]) if len(set(grids)) == 1 else layer)
    return layers, PartitionedModule(modules, reads, writes)


def _build_part(
    model: nn.Module, inside: list[fx.Node], sources: list[fx.Node], outputs: list[fx.Node]
) -> fx.GraphModule:
    """A module that computes the given nodes with the model's own submodules."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for source in sources:
        copies[source] = (
            graph.get_attr(str(source.target)) if source.op == "get_attr" else graph.placeholder(source.name)
        )
    for node in inside:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    results = tuple(copies[node] for node in outputs)
    graph.output(results if len(results) > 1 else results[0])
    return fx.GraphModule(model, graph, class_name="Part")


def _final_outputs(outputs: list[fx.Node], inside: list[fx.Node], empty: set[fx.Node]) -> tuple[int, ...]:
    """Which outputs no other output of the part was computed from, apart from those that carry nothing learned."""
    upstream: dict[fx.Node, set[fx.Node]] = {}
    for node in inside:
        parents = [source for source in node.all_input_nodes if source in upstream]
        upstream[node] = set(parents).union(*(upstream[parent] for parent in parents))
    learned = [node for node in outputs if node not in empty]
    return tuple(
        index
        for index, node in enumerate(outputs)
        if node in learned and not any(node in upstream[other] for other in learned)
    )


def partition_balanced(costs: Sequence[int], groups: int) -> list[int]:
    """The group of each cost, in order, such that the dearest group is as cheap as it can be.

    Args:
        costs: One number for each item; items keep their order.
        groups: How many groups, at most ``len(costs)``; none is empty.
    """
    sums = [0]
    for cost in costs:
        sums.append(sums[-1] + cost)
    # dearest[k][n]: the dearest group's cost when the first n items form k groups; first[k][n]: where the last begins
    dearest: list[dict[int, int]] = [{0: 0}]
    first: list[dict[int, int]] = [{}]
    for k in range(1, groups + 1):
        row: dict[int, int] = {}
        begin: dict[int, int] = {}
        for n in range(k, len(costs) + 1):
            row[n], begin[n] = min((max(dearest[k - 1][i], sums[n] - sums[i]), i) for i in dearest[k - 1] if i < n)
        dearest.append(row)
        first.append(begin)
    result = [0] * len(costs)
    end = len(costs)
    for k in range(groups, 0, -1):
        start = first[k][end]
        result[start:end] = [k - 1] * (end - start)
        end = start
    return result
