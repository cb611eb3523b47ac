"""The graph of a run's prediction, from images in [0, 1] to probabilities, by ``torch.export``."""

from __future__ import annotations

import builtins
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from localrules.data.preprocess import Preprocessor
from localrules.engine.device import Device
from localrules.engine.inference import Predictor, mean_answer
from localrules.errors import UsageError, describe_exception, shorten
from localrules.utils.torch_utils import eval_mode

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from localrules.runs.load import TrainedRun

INPUT, OUTPUT = "images", "probabilities"
_EXAMPLE = 3  # images; torch.export would take a batch of 0 or 1 for a constant


def in_float32(run: TrainedRun) -> TrainedRun:
    """A run on the CPU that predicts in float32, whatever precision and memory layout it was trained in."""
    config = run.config.model_copy(update={"device": "cpu", "precision": "fp32", "channels_last": False})
    preprocess = Preprocessor(run.predictor.preprocess.normalize)
    run.predictor.network.to(memory_format=torch.contiguous_format)
    return replace(run, config=config, predictor=replace(run.predictor, device=Device(config), preprocess=preprocess))


class ExportedNetwork(nn.Module):
    """A run's whole prediction as one module: normalisation, network, the rule's answer, and flips if the run has them.

    Args:
        predictor: On the CPU, in float32.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.model, self.rule = predictor.network.model, predictor.rule
        # Hidden from torch: where the model is cut into parts, its network holds the same modules once more.
        object.__setattr__(self, "_predictor", predictor)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, float32, shape (batch, classes).

        Args:
            images: float32 in [0, 1], shape (batch, channels, height, width).
        """
        predictor = cast(Predictor, self._predictor)
        normalised = predictor.preprocess(images * 255)
        logits = predictor.rule.predict(predictor.network, normalised).float()
        if predictor.flip:
            logits = mean_answer(logits, predictor.rule.predict(predictor.network, normalised.flip(-1)).float())
        return logits.softmax(1)


def trace(run: TrainedRun) -> ExportedProgram:
    """The graph of the run's prediction, for any number of images.

    Args:
        run: As :func:`in_float32` gives it.

    Raises:
        UsageError: The prediction cannot be traced; it says why.
    """
    example = torch.zeros(_EXAMPLE, *run.shape)
    module = ExportedNetwork(run.predictor)
    sizes = ({0: torch.export.Dim("batch")},)
    with eval_mode(run.predictor.network.model, run.predictor.rule, module), torch.no_grad(), quiet():
        module(example)  # what a rule computes once and keeps is a constant of the graph
        try:
            with _traceable_python():
                graph = torch.export.export(module, (example,), dynamic_shapes=sizes, strict=False)
        except Exception as error:  # of torch, of the rule, of the network
            raise _refusal(run, error) from error
    for node in graph.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return graph


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the notes that torch's exporters print and log to themselves."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _traceable_python() -> Iterator[None]:
    """Let code that was not written for tracing be traced, or be refused at once.

    ``len(tensor)`` has to return an ``int``, which would fix the number of images: meanwhile it is the symbolic size,
    as in ``torch.fx``. A prediction that computes gradients has no graph of its own, and torch takes minutes to say so.
    """
    own_len, own_grad = builtins.len, torch.autograd.grad

    def symbolic_len(values: Any) -> Any:
        return values.shape[0] if isinstance(values, Tensor) and values.dim() else own_len(values)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("it computes gradients, and an exported graph has none")

    builtins.len, torch.autograd.grad = symbolic_len, refuse
    try:
        yield
    finally:
        builtins.len, torch.autograd.grad = own_len, own_grad


def _refusal(run: TrainedRun, error: Exception) -> UsageError:
    config = run.config
    return UsageError(
        f"the prediction of rule {config.rule.name!r} on {config.model.name!r} cannot be traced",
        where=str(run.folder),
        why=shorten(describe_exception(error), 400),
        fix="export it with --format hub, which keeps the network as Python code and weights",
    )
