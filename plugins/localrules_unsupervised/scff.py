"""Self-contrastive forward-forward: a layer tells an image beside itself from an image beside another one."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import (
    Batch,
    InputTransform,
    LayerView,
    Objective,
    OutputTransform,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchRange,
)
from localrules.utils.torch_utils import at_least_float32
from localrules_unsupervised.pairing import other_samples


class SCFF(InputTransform, OutputTransform, Objective):
    """Every layer is active for an image with itself, and inactive for an image with another one.

    In the paper the first layer reads two images side by side, with the same weights for both: the same image twice
    (positive) or two images (negative). That is the layer's output for their sum; here it is their mean, so that the
    positive input is the image itself, and prediction needs nothing else. With the goodness ``g`` of an output, the
    mean of its squares over channels at each position, a layer minimises ``softplus(a (theta_pos - g_pos)) +
    softplus(b (g_neg - theta_neg)) + sparsity |g_pos|``, means over positions and images, with the norm over
    positions. Readers get the output at mean 0 and variance 1, sample by sample. No labels; the readout learns from
    them on the positive inputs.

    What differs: all layers learn at the same time, where the paper trains them in turn with epochs, thresholds and
    rates tuned for each; goodness is that of the layer's whole output, after its activation and pooling; every second
    image is taken once as the other one; readers get the activation (the paper's: also ``relu`` of the output less
    its mean over channels); the network's readout reads the last layer, where the paper's reads all of them.

    References:
        Chen, Liu, Laydevant & Grollier 2025, Self-contrastive forward-forward algorithm, Nature Communications,
        https://arxiv.org/abs/2409.11593; https://github.com/neurophysics-cnrsthales/contrastive-forward-forward.
    """

    class Config(RuleConfig):
        """Options of rule scff."""

        positive: float = Field(
            1.0, description="Goodness above which an image with itself should be (ours; the paper: tuned by layer)."
        )
        negative: float = Field(
            1.0, description="Goodness below which two images should be (ours; the paper: tuned by layer)."
        )
        steepness: float = Field(
            4.0, gt=0, description="Factor of the difference from either threshold (ours; the paper's: 1)."
        )
        sparsity: float = Field(
            0.0, ge=0, description="Weight of the norm of the goodness of positive inputs (ours; the paper: tuned)."
        )

    info = RuleInfo(
        search_space={"steepness": SearchRange(1, 16, log=True)},
        formula="softplus(a (theta - g(x, x))) + softplus(a (g(x, x') - theta)) + s |g(x, x)|, g mean squares over "
        "channels",
        locality="local",
        requires=Requirements(min_batch=2, float_inputs=True, targets="weighted"),
        presets={"paper": {"steepness": 1.0}},
        run_defaults={"optimizer": {"lr": 0.01}},
        model_defaults={"norm": False},
    )

    config: SCFF.Config

    def make_inputs(self, batch: Batch) -> Tensor:
        """The images, then the mean of each image and another one of the batch."""
        images = batch.images
        return torch.cat([images, (images + images[other_samples(len(images), images.device)]) / 2])

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """The losses of positive and negative inputs, and that of the positive goodness's norm."""
        config = self.config
        positive, negative = _goodness(view.output).tensor_split(2)
        self.log("positive", positive.mean())
        self.log("negative", negative.mean())
        losses = {
            "positive": functional.softplus(config.steepness * (config.positive - positive)).mean(),
            "negative": functional.softplus(config.steepness * (negative - config.negative)).mean(),
        }
        if config.sparsity:
            losses["sparsity"] = config.sparsity * positive.norm(dim=1).mean()
        return losses

    def transform_output(self, output: Tensor) -> Tensor:
        """Each sample's output at mean 0 and variance 1 over its units and positions."""
        exact = at_least_float32(output).flatten(1)
        centred = exact - exact.mean(1, keepdim=True)
        spread = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        return (centred / spread).view(output.shape).to(output.dtype)


def _goodness(output: Tensor) -> Tensor:
    """The mean of squares over channels, shape (samples, positions)."""
    return output.square().flatten(2).mean(1) if output.dim() > 2 else output.square().mean(1, keepdim=True)
