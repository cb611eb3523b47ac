"""Reading a module's graph with ``torch.fx``."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import fx, nn

from localrules.errors import UsageError

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)


class _Tracer(fx.Tracer):
    def __init__(self, leaves: Collection[str]) -> None:
        super().__init__()
        self._leaves = frozenset(leaves)

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return qualified_name in self._leaves or super().is_leaf_module(module, qualified_name)


def trace(model: nn.Module, leaves: Collection[str]) -> fx.Graph:
    """The graph of a model, with the modules named in ``leaves`` as single nodes.

    Raises:
        UsageError: The model's forward depends on data in a way that cannot be traced, or uses a
            functional dropout, whose training flag a trace would freeze.
    """
    try:
        graph = _Tracer(leaves).trace(model)
    except Exception as error:  # fx raises many kinds
        raise UsageError(
            f"the graph of {type(model).__name__} cannot be traced",
            where=_operation(error),
            why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix='mark the layers by hand: Network.wrap(model, layers=["conv1", "blocks.*", "fc"])',
        ) from error
    for node in graph.nodes:
        if node.op == "call_function" and "training" in node.kwargs:
            raise UsageError(
                f"{node.name!r} reads the training flag inside forward",
                where=f"forward of {type(model).__name__}",
                why="a traced graph would keep the flag's present value for ever",
                fix="use the module (nn.Dropout) instead of the function, or mark the layers by hand",
            )
    return graph


def _operation(error: Exception) -> str:
    """The line of the model's forward at which tracing failed."""
    traceback = error.__traceback__
    place = ""
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if torch.__path__[0] not in filename and __file__ != filename:
            place = f"{filename}, line {traceback.tb_lineno}, in {traceback.tb_frame.f_code.co_name}"
        traceback = traceback.tb_next
    return place


def weight_bearing(model: nn.Module, node: fx.Node) -> bool:
    """Whether a node applies weights of its own: a convolution or matrix, not the norm that follows one."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        return not isinstance(module, _NORMS) and any(True for _ in module.parameters())
    return any(
        source.op == "get_attr" and isinstance(_attribute(model, str(source.target)), nn.Parameter)
        for source in node.all_input_nodes
    )


def _attribute(model: nn.Module, dotted: str) -> object:
    value: object = model
    for part in dotted.split("."):
        value = getattr(value, part)
    return value
