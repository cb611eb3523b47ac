"""Attention whose dropout draws for a whole batch, where this process has a part of it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from localrules.engine.ranks import Ranks

_DOT_PRODUCT = functional.scaled_dot_product_attention
_MULTI_HEAD = functional.multi_head_attention_forward
ATTENTION = frozenset([_DOT_PRODUCT, _MULTI_HEAD])


def _dot_product(  # its signature; torch's own is built in and has none
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, *args: Any, **kwargs: Any
) -> None: ...


_SIGNATURES = {_DOT_PRODUCT: inspect.signature(_dot_product), _MULTI_HEAD: inspect.signature(_MULTI_HEAD)}


def attend_amid_others(ranks: Ranks, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of attention for this process's samples amid those of the others, in whose place there are zeros.

    Without dropout it is the plain function's.

    Args:
        ranks: The processes that divide the batch.
        func: One of ``ATTENTION``.
        args, kwargs: Its arguments.
    """
    is_multi_head = func is _MULTI_HEAD
    bound = _SIGNATURES[func].bind(*args, **kwargs)
    given, query = bound.arguments, bound.arguments["query"]
    if not given.get("dropout_p") or not given.get("training", True) or query.dim() < 3:
        return func(*args, **kwargs)
    axis = 1 if is_multi_head else 0  # torch's function for several heads has positions first
    samples = query.shape[axis]
    made: dict[int, Tensor] = {}  # where keys are the queries they remain so: torch computes both at once then

    def amid_others(values: Tensor, axis: int) -> Tensor:
        others = torch.zeros_like(values)
        parts = [values if index == ranks.index else others for index in range(ranks.count)]
        return made.setdefault(id(values), torch.cat(parts, axis))

    for name in ("query", "key", "value"):
        given[name] = amid_others(given[name], axis)
    for name in ("attn_mask", "key_padding_mask"):
        mask = given.get(name)
        if mask is not None and (mask.dim() > 2 or name == "key_padding_mask") and len(mask) % samples == 0:
            given[name] = amid_others(mask, 0)
    found = func(*bound.args, **bound.kwargs)
    own = ranks.bounds(ranks.count * samples)
    if not is_multi_head:
        return found[own]
    output, weights = found
    return output[:, own], None if weights is None else weights[own]
