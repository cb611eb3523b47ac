"""Cutting a traced network into parts: behind every weight-bearing operation, or into K of nearly equal cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, fx, nn

from localrules.core.layer import Layer
from localrules.core.tracing import is_derived, is_input_only, trace, weight_bearing
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


Grouping = Callable[[Sequence[str], Sequence[int]], Sequence[int]]
"""The part of each unit, given the units' names in the order in which they run, and the segment in which each lies;
parts count from 0 and never fall. Between two segments one tensor crosses, as between residual blocks."""


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
    sizes = _input_only(model, graph)
    unit_of, names = _units(model, graph, {unit.name for unit in units}, sizes)
    grid = {unit.name: unit.pool_size for unit in units}
    pool_size = {node: grid.get(names[unit]) for node, unit in unit_of.items()}
    if grouping is None:
        part_of_unit = list(range(len(names)))
    else:
        groups = grouping(names[:-1], _segments(unit_of, len(names) - 1, sizes))
        parts = max(groups) + 1
        part_of_unit = [*groups, parts]
        names = [_part_name([n for n, g in zip(names, part_of_unit, strict=True) if g == p]) for p in range(parts + 1)]
    part_of = {node: part_of_unit[unit] for node, unit in unit_of.items()}
    return _build_layers(model, graph, part_of, names, pool_size, sizes)


def _part_name(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"


def _input_only(model: nn.Module, graph: fx.Graph) -> set[fx.Node]:
    """The operations whose values are sizes, or computed from the network's input alone."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op not in ("placeholder", "output", "get_attr") and is_input_only(model, node, found):
            found.add(node)
    return found


def _segments(unit_of: Mapping[fx.Node, int], hidden: int, sizes: set[fx.Node]) -> list[int]:
    """The segment of each hidden unit: a new one begins where later units read one value alone.

    What is computed from that value without another (a norm in front of the next convolution) counts as that value.
    """
    crossing: list[list[fx.Node]] = [[] for _ in range(hidden)]  # behind each unit
    ordered = [node for node in next(iter(unit_of)).graph.nodes if node in unit_of]
    for node in ordered:
        last = max((unit_of.get(user, hidden) for user in node.users), default=unit_of[node])
        if node not in sizes:
            for index in range(unit_of[node], min(last, hidden)):
                crossing[index].append(node)
    ends = [_computed_from_first(nodes, ordered, unit_of, sizes) for nodes in crossing]
    return [sum(ends[:index]) for index in range(hidden)]


def _computed_from_first(
    nodes: Sequence[fx.Node], ordered: Sequence[fx.Node], unit_of: Mapping[fx.Node, int], sizes: set[fx.Node]
) -> bool:
    """Whether the first of some values is all that the others are computed from in their unit."""
    known = {nodes[0], *sizes}
    for node in ordered[ordered.index(nodes[0]) + 1 :] if len(nodes) > 1 else ():
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
        if unit_of[node] == unit_of[nodes[0]] and all(source in known for source in sources):
            known.add(node)
    return known.issuperset(nodes)


def _units(
    model: nn.Module, graph: fx.Graph, marked: set[str], sizes: set[fx.Node]
) -> tuple[dict[fx.Node, int], list[str]]:
    """The unit of every node that computes something, and each unit's name.

    Units are numbered in the order in which their weight-bearing operation runs, and a node without weights joins
    the latest unit it reads, so values only ever flow from lower numbers to higher ones: any cut is free of loops.
    What depends on parameters alone joins its first reader.
    """
    unit_of: dict[fx.Node, int] = {}
    names: list[str] = []
    derived: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.op in ("placeholder", "output", "get_attr"):
            continue
        if is_derived(model, node, derived, sizes):
            derived[node] = None
            continue
        starts = str(node.target) in marked if marked else weight_bearing(model, node, derived)
        if starts:
            names.append(str(node.target) if node.op == "call_module" else node.name)
            unit_of[node] = len(names) - 1
        else:
            unit_of[node] = max((unit_of[source] for source in node.all_input_nodes if source in unit_of), default=0)
    for node in reversed(derived):
        unit_of[node] = min((unit_of[user] for user in node.users if user in unit_of), default=0)
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
    sizes: set[fx.Node],
) -> tuple[list[Layer], PartitionedModule]:
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(result, fx.Node) or part_of.get(result) != len(names) - 1:
        raise UsageError(
            f"the output of {type(model).__name__} is not that of its last operation",
            why="a network returns its readout's logits and nothing else",
            fix="return one tensor of shape (batch, classes)",
        )
    modules, reads, writes, layers = [], [], [], []
    for index, name in enumerate(names):
        inside = [node for node in graph.nodes if part_of.get(node) == index]
        sources = list(dict.fromkeys(s for n in inside for s in n.all_input_nodes if s not in inside))
        inputs = [source for source in sources if source.op != "get_attr"]
        outputs = [n for n in inside if n is result or any(u.op != "output" and u not in inside for u in n.users)]
        ends = _final_outputs(outputs, inside, sizes)
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


def into_parts(costs: Mapping[str, int], parts: int) -> Grouping:
    """Cuts into a number of parts of nearly equal cost.

    Parts are made of whole segments, so that no residual block is cut, unless there are too few, or the largest part
    would cost more than :data:`UNEVEN` times as much as with cuts anywhere.

    Args:
        costs: Of each unit, by name.
        parts: How many, at most as many as units.
    """

    def grouping(names: Sequence[str], segments: Sequence[int]) -> Sequence[int]:
        free = partition_balanced([costs[name] for name in names], parts)
        if segments[-1] + 1 < parts:
            return free
        sums = [0] * (segments[-1] + 1)
        for name, segment in zip(names, segments, strict=True):
            sums[segment] += costs[name]
        groups = partition_balanced(sums, parts)
        whole = [groups[segment] for segment in segments]
        return whole if _largest(names, costs, whole) <= UNEVEN * _largest(names, costs, free) else free

    return grouping


UNEVEN = 1.5


def _largest(names: Sequence[str], costs: Mapping[str, int], groups: Sequence[int]) -> int:
    return max(sum(costs[n] for n, g in zip(names, groups, strict=True) if g == group) for group in set(groups))


def partition_balanced(costs: Sequence[int], groups: int) -> list[int]:
    """The group of each cost, in order, such that the largest group is as cheap as it can be, and the others as equal.

    Args:
        costs: One number for each item; items keep their order.
        groups: How many groups, at most ``len(costs)``; none is empty.
    """
    sums = [0]
    for cost in costs:
        sums.append(sums[-1] + cost)
    limit = _best(sums, groups, lambda before, cost: max(before, cost))[-1][len(costs)][0]
    # Among the divisions that keep to this limit, the one with the smallest sum of squares.
    best = _best(sums, groups, lambda before, cost: before + cost**2 if cost <= limit else math.inf)
    result = [0] * len(costs)
    end = len(costs)
    for group in range(groups, 0, -1):
        start = best[group][end][1]
        result[start:end] = [group - 1] * (end - start)
        end = start
    return result


def _best(sums: Sequence[int], groups: int, join: Callable[[float, int], float]) -> list[dict[int, tuple[float, int]]]:
    """``[k][n]``: the least value of a division of the first n items into k groups, and where its last group begins.

    Args:
        sums: The cost of the first n items, from n = 0 on.
        groups: The largest k.
        join: The value of a division, from that of all groups but the last and the last group's cost.
    """
    table: list[dict[int, tuple[float, int]]] = [{0: (0, 0)}]
    for k in range(1, groups + 1):
        before = table[-1]
        table.append(
            {
                n: min((join(before[start][0], sums[n] - sums[start]), start) for start in before if start < n)
                for n in range(k, len(sums))
            }
        )
    return table
