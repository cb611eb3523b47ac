"""A network that predicts: in eval mode, in its run's precision and memory layout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from localrules.config.schema import RunConfig
from localrules.core.feature_maps import to_feature_map
from localrules.core.interception import Forward, intercept_layers, layer_outputs
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.data.batches import iter_batches
from localrules.data.dataset import Split
from localrules.data.preprocess import Preprocessor
from localrules.engine.device import Device
from localrules.engine.layerwise import LayerwiseRule
from localrules.engine.rule_border import rule_border, training_classes
from localrules.engine.scores import Scores
from localrules.utils.plugin_border import wrong_result
from localrules.utils.progress import progress
from localrules.utils.torch_utils import eval_mode

TRAIN_SAMPLES = 5000  # of the training split are scored at the end of a run


@dataclass(frozen=True)
class Predictor:
    """A network with all that is needed to label images.

    Attributes:
        network, rule: On their device; the rule defines the prediction.
        device: Device and precision.
        preprocess: From uint8 images to the network's input.
        batch_size: Images at a time.
        flip: Whether the flipped image is predicted, too (test-time augmentation).
    """

    network: Network
    rule: Rule
    device: Device
    preprocess: Preprocessor
    batch_size: int
    flip: bool = False

    @classmethod
    def from_config(
        cls, config: RunConfig, network: Network, rule: Rule, device: Device, preprocess: Preprocessor
    ) -> Predictor:
        """With the batch size and flips of a run's configuration."""
        return cls(network, rule, device, preprocess, config.eval_batch_size, config.tta_flip)

    def scores(self, split: Split, indices: Tensor | None = None, *, flip: bool | None = None) -> Scores:
        """Predict a split as it is, in order.

        Args:
            split: The images.
            indices: int64, shape (n,): only these samples.
            flip: Also ask about each image's flipped image, and average the two answers' probabilities; the scores'
                logits are then the logarithms of these averages. As the run has it if ``None``.
        """
        flip = self.flip if flip is None else flip
        labels = split.labels if indices is None else split.labels[indices.to(split.labels.device)]
        # In one piece that is there before the first batch is freed: small pieces, one for each batch, would lie
        # between what batches free, which glibc then cannot use again for the next (``keep_freed_memory``).
        logits: Tensor | None = None
        done, count = 0, len(labels)
        with self.eval_mode(), progress("predicting images", count) as advance:
            for batch in iter_batches(split, self.batch_size, self.preprocess, indices=indices):
                found = self._logits(batch.images)
                if flip:
                    flipped = self._logits(self.preprocess.to_memory_format(batch.images.flip(-1)))
                    found = mean_answer(found, flipped)
                if logits is None:
                    logits = torch.empty(count, found.shape[1])
                logits[done : done + len(batch)] = found
                done += len(batch)
                advance(len(batch))
        assert logits is not None, "a split has an image at least"
        return Scores(logits, labels.cpu())

    def probabilities(self, images: Tensor) -> Tensor:
        """Predict images without labels.

        Args:
            images: Shape (images, channels, height, width), uint8 or floating point in [0, 255].

        Returns:
            float32 on the CPU, shape (images, classes): the softmax of the rule's answer.
        """
        unlabelled = Split(images, torch.zeros(len(images), dtype=torch.int64))
        return self.scores(unlabelled).logits.softmax(1)

    def _logits(self, images: Tensor) -> Tensor:
        with rule_border(self.rule, self.network, "predict"):
            logits = self.rule.predict(self.network, images)
            shape = (len(images), *self.network.readout.out_shapes[-1])
            if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
                found = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else repr(type(logits))
                owner = training_classes(self.rule)[0]
                raise wrong_result(owner, "predict", f"logits of shape {shape}", found)
        return logits.float()

    def feature_maps(self, image: Tensor) -> dict[str, Tensor]:
        """The hidden layers' feature maps of one image: (channels, height, width) by the layer's name.

        Args:
            image: As the data set has it, shape (1, channels, height, width).
        """
        seen: dict[str, Tensor] = {}

        def keep(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = forward(*args, **kwargs)
            if not layer.is_readout and (last := last_output(layer, output)).dim() == 4:
                seen[layer.name] = last[0].float().cpu()
            return for_readers(self.rule, layer, output)

        with self.eval_mode(), intercept_layers(self.network.layers, keep):
            self.network(self.preprocess(image))
        return seen

    @contextmanager
    def eval_mode(self) -> Iterator[None]:
        """Eval mode without gradients, in the run's precision; every module's mode is put back afterwards."""
        with eval_mode(self.network.model, self.rule), torch.no_grad(), self.device.autocast():
            yield


def last_output(layer: Layer, output: Any) -> Tensor:
    """The last of a layer's outputs that count; tokens as a feature map, as objectives see them."""
    tensor = layer_outputs(layer, output)[-1]
    is_map = tensor.dim() == 1 + len(layer.out_shapes[-1])
    return to_feature_map(tensor) if is_map and layer.has_features_last(-1) else tensor


def for_readers(rule: Rule, layer: Layer, output: Any) -> Any:
    """The output as the readers of a layer receive it: some rules normalise outputs between layers."""
    return rule.output_for_readers(layer, output) if isinstance(rule, LayerwiseRule) else output


def mean_answer(logits: Tensor, others: Tensor) -> Tensor:
    """The logarithm of the mean of two answers' probabilities, shape (batch, classes) as theirs."""
    return torch.logaddexp(logits.log_softmax(1), others.log_softmax(1)) - math.log(2)


def subsample(split: Split, count: int = TRAIN_SAMPLES) -> Tensor | None:
    """An even subset of a split, always the same: one sample, drawn with a fixed seed, from each of ``count`` parts.

    Even, so that data sorted by class are represented; drawn, so that data in which classes alternate are.

    Returns:
        int64, shape (count,), ascending; ``None`` (all samples) if the split has no more than ``count``.
    """
    if len(split) <= count:
        return None
    places = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    borders = torch.arange(count + 1) * len(split) // count  # whole, so that no sample is in two parts
    return borders[:-1] + (places * borders.diff()).long()
