"""Reading a module's graph with ``torch.fx``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from inspect import Parameter, signature
from itertools import zip_longest
from typing import Any

import torch
from torch import fx, nn

from localrules.errors import UsageError
from localrules.utils.plugin_border import definition
from localrules.utils.torch_utils import NORMS, preserve_mode

_SIZE_METHODS = ("size", "dim", "ndimension", "numel")
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_SIZE_ATTRIBUTES = ("shape", "ndim", "dtype", "device")


class _Tracer(fx.Tracer):
    def __init__(self, leaves: Collection[str]) -> None:
        super().__init__()
        self._leaves = frozenset(leaves)

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if qualified_name in self._leaves or isinstance(module, NORMS):
            return True
        # What holds nothing to learn is one operation, whatever it does inside (stochastic depth asks for its mode).
        indivisible = not any(True for _ in module.children()) and not any(True for _ in module.parameters())
        return indivisible or super().is_leaf_module(module, qualified_name)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The arguments that ``forward`` is traced with: the images. All other parameters keep their defaults.

        By default fx makes an input of every parameter, also of one with a default.
        """
        return root_fn, [self.root, self.create_proxy("placeholder", "images", (), {})]


def trace(model: nn.Module, leaves: Collection[str]) -> fx.Graph:
    """The graph of a model, with the modules named in ``leaves`` as single nodes.

    Parameters of ``forward`` after the first keep their defaults.

    Raises:
        UsageError: The model's forward needs more than one argument, or it depends on data in a way that cannot be
            traced, or on the training flag (a functional dropout), which a trace would freeze.
    """
    _check_signature(model)
    with preserve_mode(model):
        graph, in_training = _trace_once(model.eval(), leaves), _trace_once(model.train(), leaves)
    for node, same in zip_longest(graph.nodes, in_training.nodes):
        if node is None or same is None or _node_signature(node) != _node_signature(same):
            raise UsageError(
                f"{(same or node).name!r} reads the training flag inside forward",
                where=f"forward of {type(model).__name__}",
                why="a traced graph would keep the flag's present value for ever",
                fix="use a module (nn.Dropout) instead of the function, or mark the layers by hand",
            )
    return graph


def _check_signature(model: nn.Module) -> None:
    try:
        signature(model.forward).bind(None)
    except TypeError as error:
        first, *others = signature(model.forward).parameters.values()
        required = [one.name for one in others if one.default is one.empty and one.kind not in _VARIADIC]
        raise UsageError(
            f"the forward of {type(model).__name__} is not a function of one batch of images",
            where=f"{definition(type(model), 'forward')}, parameters {', '.join(required) or first.name}",
            why=f"a network is called with the images alone: {error}",
            fix="give all parameters after the first a default, or pass the module in another that does",
        ) from error


def _trace_once(model: nn.Module, leaves: Collection[str]) -> fx.Graph:
    try:
        return _Tracer(leaves).trace(model)
    except Exception as error:  # fx raises many kinds
        raise UsageError(
            f"the graph of {type(model).__name__} cannot be traced",
            where=_error_location(error),
            why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix='mark the layers by hand: Network.wrap(model, layers=["conv1", "blocks.*", "fc"])',
        ) from error


def _node_signature(node: fx.Node) -> tuple[object, ...]:
    return node.name, node.op, node.target, str(node.args), str(node.kwargs)


def _error_location(error: Exception) -> str:
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
    """Whether a node applies weights of its own: a convolution or linear operation, not the norm that follows one."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        return not isinstance(module, NORMS) and any(True for _ in module.parameters())
    return any(
        source.op == "get_attr" and isinstance(_attribute(model, str(source.target)), nn.Parameter)
        for source in node.all_input_nodes
    )


def is_input_only(model: nn.Module, node: fx.Node, others: Collection[fx.Node]) -> bool:
    """Whether a node's value is a size, or computed from the network's input and constants alone.

    Args:
        model: Where the graph is from.
        node: One of its operations.
        others: Operations before it of which this is known.
    """
    if node.op == "call_module" and any(True for _ in model.get_submodule(str(node.target)).parameters()):
        return False
    if node.op == "call_method" and node.target in _SIZE_METHODS:
        return True
    if node.op == "call_function" and node.target is getattr and node.args[1] in _SIZE_ATTRIBUTES:
        return True
    return not weight_bearing(model, node) and all(
        source in others or source.op in ("placeholder", "get_attr") for source in node.all_input_nodes
    )


def _attribute(model: nn.Module, dotted: str) -> object:
    value: object = model
    for part in dotted.split("."):
        value = getattr(value, part)
    return value
