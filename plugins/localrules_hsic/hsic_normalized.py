"""The HSIC bottleneck on normalised cross-covariance operators, the form that Ma et al.'s code trains on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from localrules import LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchRange
from localrules.kernels.config import KernelConfig, gram
from localrules.kernels.labels import LabelKernel
from localrules.kernels.normalization import frobenius_inner, ridge_normalize
from localrules_hsic.features import Reading, Reference, extract_features, input_gram, label_gram


class NormalizedHSIC(Objective):
    """``nHSIC(Z, X) - beta nHSIC(Z, Y)`` with ``nHSIC(A, B) = tr(R_A R_B)`` and ``R = Kc (Kc + eps m I)^-1``.

    The determinant-free form in which every direction of a kernel's feature space counts alike, however small its
    variance. Ours runs one forward pass a step and detaches between layers; the original re-ran it for every layer.

    References:
        Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580, equation 6 and their code's ``hsic_normalized_cca``;
        Fukumizu et al. 2007, Kernel measures of conditional dependence.
    """

    class Config(RuleConfig):
        """Options of rule hsic-normalized."""

        beta: float = Field(100.0, ge=0, description="Weight of nHSIC(Z, Y) (ours; the paper: 50 to 2500 by task).")
        eps: float = Field(
            0.1,
            gt=0,
            description="Ridge of a layer's Gram matrix, times the batch size (ours; the paper's code: 1e-5).",
        )
        eps_target: float = Field(
            1e-5,
            gt=0,
            description="Ridge of the input's and the labels' Gram matrices, times the batch size (the paper's).",
        )
        kernel: Literal["cosine", "gaussian"] = Field(
            "cosine", description="Kernel of a layer's output (ours; the paper: gaussian)."
        )
        kernel_x: Literal["cosine", "gaussian"] = Field(
            "cosine", description="Kernel of the input (ours; the paper: gaussian)."
        )
        kernel_y: LabelKernel = Field("delta", description="Kernel of the labels (ours; the paper: gaussian).")
        centered: bool = Field(True, description="Cosine kernel: of features less their mean over the batch (ours).")
        width: float | Literal["median"] = Field(
            "median",
            description="Width of the Gaussian kernels, that of the labels too: scaled by the dimension (the paper: 5) "
            "or the median distance (ours).",
        )
        reference: Reference = Field("input", description="What to forget: input (the paper), previous, none.")
        reading: Reading = Field(
            "readers", description="Positions per side to which outputs are averaged, as for rule hsic (ours)."
        )
        grid: int = Field(4, ge=1, description="Positions per side where the model declares none (ours).")

    info = RuleInfo(
        search_space={"beta": SearchRange(10, 1000, log=True)},
        formula="nHSIC(Z, X) - beta nHSIC(Z, Y), nHSIC(A, B) = tr(R_A R_B), R = Kc (Kc + eps m I)^-1",
        # Of two samples every layer has nearly the same matrix R, and hardly anything to learn.
        requires=Requirements(min_batch=3, targets="probabilities", global_batch=True),
        presets={
            "paper": {
                "beta": 200.0,
                "eps": 1e-5,
                "kernel": "gaussian",
                "kernel_x": "gaussian",
                "kernel_y": "gaussian",
                "width": 5.0,
                "reading": "flat",
            },
        },
        autocast=True,  # outputs are pooled in the precision in which they come; kernels run in float32
    )

    config: NormalizedHSIC.Config

    def forward(self, view: LayerView) -> Tensor:
        """The objective, a scalar."""
        features = extract_features(view, self.config.reading, self.config.grid)
        k = gram(features, self._kernel(self.config.kernel))
        return frobenius_inner(ridge_normalize(k, eps=self.config.eps), self._target(view))

    def _target(self, view: LayerView) -> Tensor:
        if self.config.reference == "previous":
            return self._compute_target(view)
        found: Tensor = view.batch.cached(("nhsic target", self.config), lambda: self._compute_target(view))
        return found

    def _compute_target(self, view: LayerView) -> Tensor:
        target = (
            ridge_normalize(label_gram(view, self.config.kernel_y, self.config.width), eps=self.config.eps_target)
            * -self.config.beta
        )
        forget = input_gram(view, self.config.reference, self._kernel(self.config.kernel_x))
        return target if forget is None else target + ridge_normalize(forget, eps=self.config.eps_target)

    def _kernel(self, name: Literal["cosine", "gaussian"]) -> KernelConfig:
        return KernelConfig(name, width=self.config.width, centered=self.config.centered)
