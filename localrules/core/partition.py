"""Cutting a traced network into parts: behind every weight-bearing operation, or into K of nearly equal cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import fx, nn

from localrules.core.layer import Layer
from localrules.core.partitioned_module import INPUT, PartitionedModule
from localrules.core.tracing import is_derived, is_input_only, reading_of, trace, weight_bearing, writes_in_place
from localrules.errors import UsageError

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
    before = set(vars(model))
    try:
        graph = trace(model, [unit.name for unit in units])
        return _cut(model, graph, units, grouping, constants=set(vars(model)) - before)
    finally:
        for name in set(vars(model)) - before:  # tracing has put them there
            delattr(model, name)


def _cut(
    model: nn.Module, graph: fx.Graph, units: Sequence[Layer], grouping: Grouping | None, constants: set[str]
) -> tuple[list[Layer], PartitionedModule]:
    sizes = _input_only(model, graph)
    unit_of, names, derived = _units(model, graph, {unit.name for unit in units}, sizes)
    grid = {unit.name: unit.pool_size for unit in units}
    pool_size = {node: grid.get(names[unit]) for node, unit in unit_of.items()}
    if grouping is None:
        part_of_unit = list(range(len(names)))
    else:
        groups = grouping(names[:-1], _segments(unit_of, len(names) - 1, sizes | derived))
        parts = max(groups) + 1
        part_of_unit = [*groups, parts]
        names = [_part_name([n for n, g in zip(names, part_of_unit, strict=True) if g == p]) for p in range(parts + 1)]
    part_of = {node: part_of_unit[unit] for node, unit in unit_of.items()}
    _refuse_writes_across(model, graph, part_of, names)
    return _build_layers(model, graph, part_of, names, derived, pool_size, sizes, constants)


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
) -> tuple[dict[fx.Node, int], list[str], set[fx.Node]]:
    """The unit of every node that computes something, each unit's name, and what is computed from parameters alone.

    Units are numbered in the order in which their weight-bearing operation runs, and a node without weights joins
    the latest unit it reads, so values only ever flow from lower numbers to higher ones: any cut is free of loops.
    What depends on parameters alone belongs to no unit: each of its readers computes it.
    """
    unit_of: dict[fx.Node, int] = {}
    names: list[str] = []
    derived: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op in ("placeholder", "output", "get_attr") or reading_of(node) is not None:
            continue
        if is_derived(model, node, derived, sizes):
            derived.add(node)
            continue
        starts = str(node.target) in marked if marked else weight_bearing(model, node, derived)
        if starts:
            names.append(_unused(str(node.target) if node.op == "call_module" else node.name, names))
            unit_of[node] = len(names) - 1
        else:
            unit_of[node] = max((unit_of[source] for source in node.all_input_nodes if source in unit_of), default=0)
    if len(names) < 2:
        raise UsageError(
            f"{type(model).__name__} has fewer than two weight-bearing operations",
            why="a network needs at least one layer below its readout",
        )
    return unit_of, names, derived


def _unused(name: str, taken: Sequence[str]) -> str:
    """The name, with a number where a module that runs twice, or an operation that is called like one, has it."""
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    return next(free for free in numbered if free not in taken)


def _refuse_writes_across(
    model: nn.Module, graph: fx.Graph, part_of: Mapping[fx.Node, int], names: Sequence[str]
) -> None:
    """Raises UsageError where a value is written in place after another part has read it: the part would run later."""
    place = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        written = node.all_input_nodes[:1] if writes_in_place(model, node) else []
        for reader in (user for value in written for user in value.users if user in part_of):
            if place[reader] < place[node] and part_of[reader] > part_of.get(node, len(names)):
                raise UsageError(
                    f"{node.name!r} changes in place what layer {names[part_of[reader]]!r} has read",
                    where=f"forward of {type(model).__name__}",
                    why="the operation belongs to the layer before, and its other readers would see another value",
                    fix="write it out of place (x = x + y, nn.ReLU()), or mark the layers by hand",
                )


def _build_layers(
    model: nn.Module,
    graph: fx.Graph,
    part_of: dict[fx.Node, int],
    names: list[str],
    derived: set[fx.Node],
    pool_size: Mapping[fx.Node, int | None],
    sizes: set[fx.Node],
    constants: set[str],
) -> tuple[list[Layer], PartitionedModule]:
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(result, fx.Node) or part_of.get(result) != len(names) - 1:
        raise UsageError(
            f"the output of {type(model).__name__} is not that of its last operation",
            why="a network returns its readout's logits and nothing else",
            fix="return one tensor of shape (batch, classes)",
        )
    parts = [
        _with_derived(graph, {node for node in part_of if part_of[node] == index}, derived)
        for index in range(len(names))
    ]
    # Of the nodes as each part has them: what is derived, in every part that reads it, may read a size of another part.
    sources_of = [list(dict.fromkeys(s for n in part for s in n.all_input_nodes if s not in part)) for part in parts]
    read = {source for sources in sources_of for source in sources}
    modules, reads, writes, layers = [], [], [], []
    for index, (name, inside, sources) in enumerate(zip(names, parts, sources_of, strict=True)):
        inputs = [source for source in sources if source.op != "get_attr"]
        outputs = [n for n in inside if n not in derived and (n is result or n in read)]
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
    readings = {node.name: found for node in graph.nodes if (found := reading_of(node)) is not None}
    return layers, PartitionedModule(model, modules, reads, writes, readings, constants)


def _with_derived(graph: fx.Graph, part: set[fx.Node], derived: set[fx.Node]) -> list[fx.Node]:
    """The nodes of a part, with what they read of those that depend on parameters alone, in order."""
    inside = set(part)
    for node in reversed(graph.nodes):
        if node in inside:
            inside |= derived.intersection(node.all_input_nodes)
    return [node for node in graph.nodes if node in inside]


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
