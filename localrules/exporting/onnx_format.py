"""ONNX, written by torch's exporter and read by ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from localrules.errors import UsageError, describe_exception, shorten
from localrules.exporting.formats import ExportContext, ExportFormat
from localrules.exporting.traced import INPUT, OUTPUT, in_float32, quiet, trace

if TYPE_CHECKING:
    from localrules.runs.load import TrainedRun

FILE = "model.onnx"


class OnnxFormat(ExportFormat):
    """``model.onnx``: from images in [0, 1] to probabilities, for any number of images."""

    name = "onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")

    def prepare(self, run: TrainedRun) -> TrainedRun:
        return in_float32(run)

    def write(self, run: TrainedRun, folder: Path, about: ExportContext) -> None:
        graph = trace(run)
        try:
            with quiet(), contextlib.redirect_stdout(io.StringIO()):
                # Its optimiser takes additions of up to 1e-8 for additions of zero, and divisions by zero remain.
                program = torch.onnx.export(
                    graph, dynamo=True, optimize=False, input_names=[INPUT], output_names=[OUTPUT]
                )
        except Exception as error:  # of torch's converter, whose errors have no common class
            raise UsageError(
                f"the prediction of rule {run.config.rule.name!r} on {run.config.model.name!r} has no form in ONNX",
                where=str(run.folder),
                why=shorten(describe_exception(error.__cause__ or error), 400),
                fix="export it with --format torch or --format hub",
            ) from error
        assert program is not None
        program.model.producer_name = "localrules"
        _name_batch(program.model.graph)
        # As ONNX has it: text by name. Programs that show labels read "classes".
        program.model.metadata_props.update(
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.facts.items()}
        )
        program.save(str(folder / FILE))

    def predict(self, run: TrainedRun, folder: Path, images: list[Tensor]) -> list[Tensor]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = run.config.threads
        session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
        found = [session.run([OUTPUT], {INPUT: (batch.float() / 255).numpy()})[0] for batch in images]
        return [torch.from_numpy(each) for each in found]


def _name_batch(graph: Any) -> None:
    """Call the number of images ``batch``, where torch calls it ``s34`` or the like."""
    values = [*graph.inputs, *graph.outputs, *(value for node in graph for value in node.outputs)]
    symbol = graph.inputs[0].shape[0]
    for value in values:
        for axis, size in enumerate(value.shape or ()):
            if size == symbol:
                value.shape[axis] = "batch"
