"""The measurements of layers in ``metrics.csv``: how plots, pages and trackers show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnostic:
    """The appearance of a diagnostic.

    Attributes:
        title: Its heading.
        unit: What its values are.
        log: Whether they span orders of magnitude.
        of_step: Whether it is measured in logged steps, and not at evaluations.
        percent: Whether its values are fractions that are shown in percent.
    """

    title: str
    unit: str
    log: bool = False
    of_step: bool = False
    percent: bool = False

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}"


KNOWN = {
    "gradient": Diagnostic("Norm of the gradient", "L2 norm", log=True, of_step=True),
    "update": Diagnostic("Update", "fraction of the weights' norm", log=True, of_step=True),
    "angle": Diagnostic("Angle to back-propagation", "degrees", of_step=True),
    "dead": Diagnostic("Dead units", "of the layer's units", percent=True),
    "hsic-input": Diagnostic("Dependence on the input", "nHSIC"),
    "hsic-labels": Diagnostic("Dependence on the labels", "nHSIC"),
    "cka": Diagnostic("Similarity to the layer before", "CKA"),
    "probe": Diagnostic("Accuracy of a linear probe", "of the images", percent=True),
}
"""The diagnostics that are numbers, by name."""

HEADINGS = {"objective": "Objective", **{name: shown.heading for name, shown in KNOWN.items()}}
"""The headings of all measurements of layers, by name, the objective included."""
