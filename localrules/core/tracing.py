"""Reading a module's graph with ``torch.fx``."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from itertools import zip_longest
from keyword import iskeyword
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from localrules.core.partitioned_module import Reading, attribute
from localrules.errors import UsageError
from localrules.utils.plugin_border import definition
from localrules.utils.torch_utils import NORMS, preserve_mode

_SIZE_METHODS = ("size", "dim", "ndimension", "numel")
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_SIZE_ATTRIBUTES = ("shape", "ndim", "dtype", "device")
# Functions that put parameters beside the data or scale the data by them, as positions, scales and biases do.
_ELEMENTWISE = {"add", "radd", "iadd", "sub", "rsub", "mul", "rmul", "imul", "div", "truediv", "cat", "concat", "stack"}
_MULTIPLYING = {
    *(f"conv{transposed}{number}d" for transposed in ("", "_transpose") for number in (1, 2, 3)),
    *("linear", "bilinear", "matmul", "mm", "bmm", "addmm"),
}
_IN_PLACE = {"iadd", "isub", "imul", "itruediv", "iand", "ior", "ixor", "imatmul", "ipow"}  # of the module operator
_CONSTANT = re.compile(r"_tensor_constant\d+")


class _Tracer(fx.Tracer):
    def __init__(self, leaves: Collection[str]) -> None:
        super().__init__()
        self._leaves = frozenset(leaves)
        self.failed: str | None = None  # the innermost module in which tracing failed

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if qualified_name in self._leaves or isinstance(module, NORMS):
            return True
        # A module of no modules is one operation, whatever it does inside (stochastic depth asks for its mode).
        return not any(True for _ in module.children()) or super().is_leaf_module(module, qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """As in fx; the innermost module in which it fails is remembered."""
        try:
            with _refused_if_it_draws():
                return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """As in fx, which forgets the contexts of torch in which an operation stands: they are noted."""
        node = super().create_node(*args, **kwargs)
        node.meta["without_gradient"] = not torch.is_grad_enabled()
        node.meta["without_autocast"] = not torch.is_autocast_enabled("cpu")
        return node

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The arguments that ``forward`` is traced with: the images. All other parameters keep their defaults.

        By default fx makes an input of every parameter, also of one with a default.
        """
        return root_fn, [self.root, self.create_proxy("placeholder", "images", (), {})]


@contextmanager
def _refused_if_it_draws() -> Iterator[None]:
    """Raises RuntimeError if a random number is drawn in the context: a trace would keep it. It is then put back."""
    torchs, pythons, numpys = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)
    yield
    now = np.random.get_state(legacy=False)["state"]
    drawn = not torch.equal(torchs, torch.get_rng_state()) or pythons != random.getstate()
    if not drawn and now["pos"] == numpys["state"]["pos"] and np.array_equal(now["key"], numpys["state"]["key"]):
        return
    torch.set_rng_state(torchs)
    random.setstate(pythons)
    np.random.set_state(numpys)
    raise RuntimeError("forward draws random numbers while it is traced; the graph would keep these for ever")


def trace(model: nn.Module, leaves: Collection[str]) -> fx.Graph:
    """The graph of a model, with the modules named in ``leaves`` as single nodes.

    Parameters of ``forward`` after the first keep their defaults. A module inside the model whose forward cannot be
    traced, or reads the training flag, becomes a single node too.

    Raises:
        UsageError: The model's forward needs more than one argument, or it depends on data in a way that cannot be
            traced, or on the training flag (a functional dropout), which a trace would freeze.
    """
    _check_signature(model)
    whole = set(leaves)
    with preserve_mode(model), _refused_if_buffers_change(model), _attributes_put_back(model):
        while True:
            try:
                return _trace_in_both_modes(model, whole)
            except _Untraceable as error:
                if not _is_inner_part(model, error.module):
                    raise error.error from error.error.__cause__
                whole.add(error.module)


@contextmanager
def _attributes_put_back(model: nn.Module) -> Iterator[None]:
    """Put back what forward writes to attributes where it is traced: placeholders for values.

    Tensors that tracing has made for itself stay, at the model: the graph reads them.
    """
    before = [(module, dict(vars(module))) for module in model.modules()]
    yield
    for module, known in before:
        for name, value in list(vars(module).items()):
            if name not in known:
                if isinstance(value, fx.Proxy):
                    delattr(module, name)
            elif value is not known[name]:
                vars(module)[name] = known[name]


@contextmanager
def _refused_if_buffers_change(model: nn.Module) -> Iterator[None]:
    """Raises UsageError if forward writes to a buffer where it is traced: it would do so once, and never again."""
    before = {name: (buffer, buffer._version, buffer.clone()) for name, buffer in model.named_buffers()}
    yield
    for name, buffer in model.named_buffers():
        old, version, value = before[name]
        if buffer is not old or buffer._version != version:
            old.copy_(value)
            setattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], old)
            raise UsageError(
                f"forward writes to the buffer {name!r}",
                where=f"forward of {type(model).__name__}",
                why="a traced graph would not repeat it",
                fix="write to it in a module that has none inside, which is not traced, or mark the layers by hand",
            )


class _Untraceable(Exception):
    """A module whose forward cannot be traced; the empty name means the model itself."""

    def __init__(self, module: str, error: UsageError) -> None:
        super().__init__(module)
        self.module = module
        self.error = error


def _is_inner_part(model: nn.Module, name: str) -> bool:
    """Whether a module is a part of the model, so that something to learn is left beside it."""
    inside = {id(parameter) for parameter in model.get_submodule(name).parameters()}
    return bool(name) and any(id(parameter) not in inside for parameter in model.parameters())


def _trace_in_both_modes(model: nn.Module, leaves: Collection[str]) -> fx.Graph:
    graph = _trace_once(model.eval(), leaves)
    with torch.autocast("cpu", torch.bfloat16):  # so that a place where forward turns it off is seen
        in_training = _trace_once(model.train(), leaves)
    _check_contexts(model, in_training, leaves)
    for node, same in zip_longest(graph.nodes, in_training.nodes):
        if node is None or same is None or _node_signature(node) != _node_signature(same):
            around = [name for name in (same or node).meta.get("nn_module_stack") or {} if name not in leaves]
            refusal = UsageError(
                f"{(same or node).name!r} reads the training flag inside forward",
                where=f"forward of {type(model).__name__}",
                why="a traced graph would keep the flag's present value for ever",
                fix="use a module (nn.Dropout) instead of the function, or mark the layers by hand",
            )
            raise _Untraceable(around[-1] if around else "", refusal)
    for node in graph.nodes:
        named = str(node.target).split(".") if node.op in ("call_module", "get_attr") else []
        if word := next(filter(iskeyword, named), ""):
            raise UsageError(
                f"a module has the name {word!r}, a keyword of Python",
                where=f"{node.target} of {type(model).__name__}",
                why="a traced graph is written as Python code, in which it cannot stand",
                fix='give it another name (in an nn.ModuleDict another key), or mark the layers by hand: layers=["a"]',
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
    tracer = _Tracer(leaves)
    try:
        with _refused_if_it_draws(), torch.enable_grad():
            return tracer.trace(model)
    except Exception as error:  # fx raises many kinds
        refusal = UsageError(
            f"the graph of {type(model).__name__} cannot be traced",
            where=_error_location(error),
            why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix='mark the layers by hand: Network.wrap(model, layers=["conv1", "blocks.*", "fc"])',
        )
        refusal.__cause__ = error
        raise _Untraceable(tracer.failed or "", refusal) from error


def _check_contexts(model: nn.Module, graph: fx.Graph, leaves: Collection[str]) -> None:
    """Refuse operations in contexts of torch that a graph does not keep, where that would change what is learned.

    Raises:
        _Untraceable: A trainable parameter is used under ``no_grad``, or autocast is turned off inside forward.
    """
    learned: set[fx.Node] = set()  # values that depend on trainable parameters
    for node in graph.nodes:
        if _uses_trainable(model, node) or any(source in learned for source in node.all_input_nodes):
            learned.add(node)
        if node.op in ("placeholder", "get_attr", "output"):
            continue
        context = ""
        if node.meta["without_gradient"] and node in learned:
            context = "torch.no_grad()"
        elif node.meta["without_autocast"]:
            context = "torch.autocast(enabled=False)"
        if not context:
            continue
        around = [name for name in node.meta.get("nn_module_stack") or {} if name not in leaves and name != node.target]
        raise _Untraceable(
            around[-1] if around else "",
            UsageError(
                f"forward runs {node.target if node.op == 'call_module' else node.name!r} under {context}",
                where=f"forward of {type(model).__name__}",
                why="a traced graph does not keep the context: the layers would be trained as if it were not there",
                fix="freeze what is not to learn with requires_grad_(False) and leave out the context"
                if context == "torch.no_grad()"
                else "put that part into a module of its own, whose forward has the context",
            ),
        )


def _uses_trainable(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(parameter.requires_grad for parameter in model.get_submodule(str(node.target)).parameters())
    parameter = _parameter(model, node)
    return parameter is not None and parameter.requires_grad


def _node_signature(node: fx.Node) -> tuple[object, ...]:
    """The parts of a node in which two traces must agree, without the numbers of constants, which go on."""
    words = (node.name, node.target, node.args, node.kwargs)
    return node.op, *(_CONSTANT.sub("constant", str(word)) for word in words)


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


def weight_bearing(model: nn.Module, node: fx.Node, derived: Collection[fx.Node] = ()) -> bool:
    """Whether a node applies weights of its own: a convolution or linear operation, not the norm that follows one.

    Vectors (scales, biases) and parameters that are added to the data or concatenated with it (positions, class
    tokens) do not count.

    Args:
        model: Where the graph is from.
        node: One of its operations.
        derived: Operations before it that depend on parameters alone, see :func:`is_derived`.
    """
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        if isinstance(module, nn.Linear | nn.Bilinear | nn.modules.conv._ConvNd):
            return True  # even where its weight is one row or one value
        return not isinstance(module, NORMS) and any(_is_matrix(parameter) for parameter in module.parameters())
    if node.op not in ("call_function", "call_method") or _reads_size(node) or _function_name(node) in _ELEMENTWISE:
        return False
    multiplies = _function_name(node) in _MULTIPLYING
    return any(
        source in derived or (parameter is not None and (multiplies or _is_matrix(parameter)))
        for source in node.all_input_nodes
        for parameter in (_parameter(model, source),)
    )


def writes_in_place(model: nn.Module, node: fx.Node) -> bool:
    """Whether an operation changes its first argument."""
    if node.op == "call_module":
        return bool(getattr(model.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_method", "call_function"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return bool(node.kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name in _IN_PLACE


def reading_of(node: fx.Node) -> Reading | None:
    """The size, data type or device of one of the model's tensors that a node reads, if it does."""
    sources = node.all_input_nodes
    if not _reads_size(node) or len(sources) != 1 or sources[0].op != "get_attr":
        return None
    tensor, *args = node.args
    if tensor is not sources[0]:
        return None
    if node.op == "call_function":
        return Reading(str(sources[0].target), str(args[0]), None)
    return Reading(str(sources[0].target), str(node.target), (*args, *node.kwargs.values()))


def is_derived(model: nn.Module, node: fx.Node, derived: Collection[fx.Node], sizes: Collection[fx.Node]) -> bool:
    """Whether a function's value depends on parameters (and sizes) alone: a kernel that is reshaped or normalised.

    Args:
        model: Where the graph is from.
        node: One of its operations.
        derived: Operations before it of which this is known.
        sizes: Operations before it that give sizes, or depend on the network's input alone.
    """
    if node.op not in ("call_function", "call_method") or _reads_size(node):
        return False
    sources = node.all_input_nodes
    known = [source for source in sources if source in derived or _parameter(model, source) is not None]
    return bool(known) and all(source.op == "get_attr" or source in derived or source in sizes for source in sources)


def _parameter(model: nn.Module, node: fx.Node) -> nn.Parameter | None:
    found = attribute(model, str(node.target)) if node.op == "get_attr" else None
    return found if isinstance(found, nn.Parameter) else None


def _is_matrix(parameter: torch.Tensor | None) -> bool:
    return parameter is not None and parameter.numel() > max(parameter.shape, default=1)


def _function_name(node: fx.Node) -> str:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.strip("_")


def _reads_size(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SIZE_METHODS
    return node.op == "call_function" and node.target is getattr and node.args[1] in _SIZE_ATTRIBUTES


def is_input_only(model: nn.Module, node: fx.Node, others: Collection[fx.Node]) -> bool:
    """Whether a node's value is a size, or computed from the network's input and constants alone.

    Args:
        model: Where the graph is from.
        node: One of its operations.
        others: Operations before it of which this is known.
    """
    if node.op == "call_module" and any(True for _ in model.get_submodule(str(node.target)).parameters()):
        return False
    return _reads_size(node) or all(
        source in others
        or source.op == "placeholder"
        or (source.op == "get_attr" and _parameter(model, source) is None)
        for source in node.all_input_nodes
    )
