"""Splitting a row of costs into groups of nearly equal sum."""

from __future__ import annotations

from collections.abc import Sequence


def balanced_groups(costs: Sequence[int], groups: int) -> list[int]:
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
