"""The formats of an export: what each writes, and how it is read back to be compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from localrules.errors import UsageError
from localrules.utils.extras import require_extra

if TYPE_CHECKING:
    from localrules.runs.load import TrainedRun


class ExportFormat(ABC):
    """A format.

    Attributes:
        name: The word users type, and the extra of localrules that has the packages.
        packages: Packages that writing and reading need.
        tolerance: The largest difference of a probability from the run's (ours).
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    tolerance: float = 1e-5

    def check(self) -> None:
        """Refuse what this Python cannot write, before any work.

        Raises:
            MissingDependencyError: A package is not installed.
        """
        require_extra(self.name, self.packages, f"--format {self.name}")

    def prepare(self, run: TrainedRun) -> TrainedRun:
        """The run, on the CPU, as this format predicts."""
        return run

    @abstractmethod
    def write(self, run: TrainedRun, folder: Path, about: ExportContext) -> None:
        """Write the network.

        Args:
            run: As :meth:`prepare` gives it.
            folder: Empty.
            about: What to tell readers.

        Raises:
            UsageError: The run's prediction cannot be written in this format.
        """

    @abstractmethod
    def predict(self, run: TrainedRun, folder: Path, images: list[Tensor]) -> list[Tensor]:
        """The probabilities that the written network gives.

        Args:
            run: The run that was written.
            folder: Where :meth:`write` has written it.
            images: Batches, each uint8, shape (images, channels, height, width).
        """


@dataclass(frozen=True)
class ExportContext:
    """Facts of an export for its readers.

    Attributes:
        facts: Names, classes, shapes and versions: the content of ``export.json``.
        license: Of the weights; empty: none is given.
        repository: On the Hugging Face Hub; empty: none.
        name: The name of the folder.
        notes: Markdown for the model card.
    """

    facts: dict[str, Any]
    license: str
    repository: str
    name: str
    notes: str = ""


def find_format(name: str, *, half: bool = False) -> ExportFormat:
    """The format of that name.

    Args:
        name: ``onnx``, ``torch`` or ``hub``.
        half: Store parameters as float16.

    Raises:
        UsageError: There is none, or it stores no float16.
    """
    from localrules.exporting.hub_format import HubFormat
    from localrules.exporting.onnx_format import OnnxFormat
    from localrules.exporting.torch_format import TorchFormat

    formats: dict[str, type[ExportFormat]] = {each.name: each for each in (OnnxFormat, TorchFormat, HubFormat)}
    if name not in formats:
        raise UsageError(
            f"there is no export format {name!r}", where="--format", fix=f"choose one of: {', '.join(formats)}"
        )
    if not half:
        return formats[name]()
    if name != HubFormat.name:
        raise UsageError(
            "only the weights of a hub folder are stored as float16",
            where="--half",
            why=f"{name} computes in the precision in which its weights are stored",
            fix="add --format hub, or leave it out",
        )
    return HubFormat(half=True)
