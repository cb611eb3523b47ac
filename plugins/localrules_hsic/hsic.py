"""The HSIC bottleneck in its trace form."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat
from torch import Tensor

from localrules import LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchRange
from localrules.kernels.config import KernelConfig, KernelName, gram
from localrules.kernels.hsic import Normalizer
from localrules.kernels.labels import LabelKernel
from localrules.kernels.normalization import center, frobenius_inner, normalize
from localrules_hsic.features import Reading, Reference, extract_features, input_gram, label_gram


class HSIC(Objective):
    """``HSIC(Z, X) - beta HSIC(Z, Y)``, each the trace of two Gram matrices: forget the image, keep the label.

    ``HSIC(A, B) = (m - 1)^-2 tr(K_A H K_B H)``. By default (ours) each Gram matrix is centred and divided by its
    Frobenius norm first, which makes the trace a cosine and so independent of the layer's scale; ``preset=paper`` is
    the form as printed.

    References:
        Han et al. 2023, https://doi.org/10.12677/sea.2023.122019, section 3; after Ma, Lewis & Kleijn 2020,
        https://arxiv.org/abs/1908.01580, equation 6; HSIC: Gretton et al. 2005, https://doi.org/10.1007/11564089_7.
    """

    class Config(RuleConfig):
        """Options of rule hsic."""

        beta: float = Field(100.0, ge=0, description="Weight of HSIC(Z, Y) (the paper's).")
        normalization: Literal["frobenius", "none"] = Field(
            "frobenius", description="Divide each centred Gram matrix by its norm (ours), or not (the paper)."
        )
        normalizer: Normalizer = Field(
            "biased", description="Without normalization: (m-1)^-2 (Gretton, Ma), or (m-1)^-1 as the paper prints it."
        )
        kernel: KernelName = Field("cosine", description="Kernel of a layer's output (ours; paper: gaussian).")
        kernel_x: KernelName = Field("cosine", description="Kernel of the input (ours; paper: gaussian).")
        kernel_y: LabelKernel = Field("delta", description="Kernel of the labels (ours; paper: gaussian).")
        centered: bool = Field(True, description="Cosine kernel: of features less their mean over the batch (ours).")
        width: PositiveFloat | Literal["median"] = Field(
            "median",
            description="Gaussian kernels, that of the labels too: width, scaled by the dimension, or the median "
            "distance (ours).",
        )
        reference: Reference = Field("input", description="What to forget: input (the paper), previous, none.")
        reading: Reading = Field(
            "readers",
            description="Positions per side to which outputs are averaged: as their readers see them (ours), a number, "
            "or flat: not at all (the paper).",
        )
        grid: int = Field(4, ge=1, description="Positions per side where the model declares none (ours).")

    info = RuleInfo(
        search_space={"beta": SearchRange(10, 1000, log=True)},
        formula="HSIC(Z, X) - beta HSIC(Z, Y), HSIC(A, B) = tr(K_A H K_B H) of kernels centred and normalised",
        # Of two samples every layer has the same centred and normalised Gram matrix, and nothing to learn.
        requires=Requirements(min_batch=3, targets="probabilities", global_batch=True),
        run_defaults={"optimizer": {"lr": 0.005}},  # the paper's
        presets={
            "paper": {
                "normalization": "none",
                "normalizer": "printed",
                "kernel": "gaussian",
                "kernel_x": "gaussian",
                "kernel_y": "gaussian",
                "width": 5.0,
                "reading": "flat",
            }
        },
        autocast=True,  # outputs are pooled in the precision in which they come; kernels run in float32
    )

    config: HSIC.Config

    def forward(self, view: LayerView) -> Tensor:
        """The objective, a scalar.

        The trace is linear in each Gram matrix, so both terms share one target matrix: ``<K_z, K_x - beta K_y>``.
        """
        features = extract_features(view, self.config.reading, self.config.grid)
        k = gram(features, self._kernel(self.config.kernel))
        return frobenius_inner(self._normalized(k), self._target(view)) * self._scale(k.shape[0])

    def _target(self, view: LayerView) -> Tensor:
        if self.config.reference == "previous":
            return self._compute_target(view)
        found: Tensor = view.batch.cached(("hsic target", self.config), lambda: self._compute_target(view))
        return found

    def _compute_target(self, view: LayerView) -> Tensor:
        target = self._normalized(label_gram(view, self.config.kernel_y, self.config.width)) * -self.config.beta
        forget = input_gram(view, self.config.reference, self._kernel(self.config.kernel_x))
        return target if forget is None else target + self._normalized(forget)

    def _normalized(self, k: Tensor) -> Tensor:
        return normalize(k) if self.config.normalization == "frobenius" else center(k)

    def _scale(self, m: int) -> float:
        if self.config.normalization == "frobenius":
            return 1.0
        return 1 / (m - 1) ** (2 if self.config.normalizer == "biased" else 1)

    def _kernel(self, name: KernelName) -> KernelConfig:
        return KernelConfig(name, width=self.config.width, centered=self.config.centered)
