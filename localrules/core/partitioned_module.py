"""A network that was cut into parts, which run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, fx, nn

INPUT = "the network's input"


class Reading(NamedTuple):
    """A size, data type or device of one of the model's tensors: no value that anybody owns or learns.

    Attributes:
        tensor: The tensor's name in the model.
        word: The attribute or method of the tensor that is read.
        args: Of the method; ``None`` of an attribute.
    """

    tensor: str
    word: str
    args: tuple[Any, ...] | None

    def of(self, model: nn.Module) -> Any:
        """The value that the model has now."""
        found = getattr(attribute(model, self.tensor), self.word)
        return found if self.args is None else found(*self.args)


class PartitionedModule(nn.Module):
    """Runs the parts of a cut network one after the other, and lets go of each value behind its last reader.

    Parts hold the model's own modules. Tensors that forward reads from the model itself (``self.weight``) are looked up
    there at each call, so that they are the model's after it was moved, converted, or loaded with other tensors.

    Args:
        model: The network before it was cut.
        parts: In the order in which they run.
        reads: Names of the values that each part is given.
        writes: Names of the values that each part returns.
        readings: Of the model's tensors, by the name of the value.
        constants: Names of tensors that tracing has made, which the parts hold and the model does not.
    """

    _model: nn.Module

    def __init__(
        self,
        model: nn.Module,
        parts: Sequence[fx.GraphModule],
        reads: list[list[str]],
        writes: list[list[str]],
        readings: Mapping[str, Reading],
        constants: Collection[str],
    ) -> None:
        super().__init__()
        object.__setattr__(self, "_model", model)  # hidden from torch, as its parameters are those of the parts
        self.parts = nn.ModuleList(parts)
        self._reads, self._writes, self._readings, self._constants = reads, writes, readings, tuple(constants)
        last_reader = {name: index for index, names in enumerate(reads) for name in names}
        self._spent = [[name for name in names if last_reader[name] == index] for index, names in enumerate(reads)]
        self._looked_up = [
            (index, str(node.target))
            for index, part in enumerate(parts)
            for node in part.graph.nodes
            if node.op == "get_attr" and node.target not in self._constants
        ]

    def forward(self, images: Tensor) -> Tensor:
        self.look_up()
        values: dict[str, Any] = {INPUT: images}
        values |= {name: reading.of(self._model) for name, reading in self._readings.items()}
        output: Any = None
        for part, reads, writes, spent in zip(self.parts, self._reads, self._writes, self._spent, strict=True):
            output = part(*[values[name] for name in reads])
            for name in spent:
                del values[name]
            values.update(zip(writes, output if len(writes) > 1 else (output,), strict=True))
        return output

    def look_up(self) -> None:
        """Let the parts hold the tensors that the model has now."""
        for index, name in self._looked_up:
            module, _, word = name.rpartition(".")
            owner, current = self.parts[index].get_submodule(module), attribute(self._model, name)
            if getattr(owner, word) is not current:
                setattr(owner, word, current)

    def convert(self, function: Callable[[Tensor], Tensor]) -> None:
        """Follow the model, to whose tensors a function was applied: as ``nn.Module.to`` does."""
        for part in self.parts:
            for name in self._constants:
                if (constant := part._buffers.get(name)) is not None:
                    part._buffers[name] = function(constant)
        self.look_up()


def attribute(model: nn.Module, dotted: str) -> Any:
    """An attribute of a module or of one inside it, by its dotted name."""
    value: Any = model
    for part in dotted.split("."):
        value = getattr(value, part)
    return value
