"""The trace form as printed hardly learns: the effect of each form of the objective on the layers.

The same small network on the same batches, trained by the trace form as printed (Gaussian kernels, no normalisation),
by the same with other widths, and by the normalised trace. For the coarsest lateral, on fresh images, it prints

- rank: the participation ratio of the centred features' spectrum, (sum l)^2 / sum l^2: how many directions are in use.
  Seven classes need six;
- class rank: the same of the seven class means;
- gradient: the median absolute gradient of the layers' weights, beside Adam's epsilon of 1e-8;
- valid: the accuracy.

    python examples/why_plain_hsic_collapses.py                      # synthetic faces
    python examples/why_plain_hsic_collapses.py --data fer2013 --data-path FILE
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from localrules.core.interception import intercept_layers, tensor_leaves
from localrules.engine.optimizers import LayerOptimizers
from localrules.engine.phases import apply_phase
from localrules.engine.resolve import resolve_run
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.registry.registry import Registry

FORMS = {
    "as printed: Gaussian, width 5, flat": {"preset": "paper"},
    "printed, maps read as their readers do": {"preset": "paper", "reading": "readers"},
    "printed, median width, read as readers do": {"preset": "paper", "reading": "readers", "width": "median"},
    "cosine, not normalised": {"normalization": "none"},
    "Gaussian at median width, normalised": {"kernel": "gaussian", "kernel_x": "gaussian"},
    "cosine, normalised (default)": {},
}


def participation(features: Tensor) -> float:
    """(sum l)^2 / sum l^2 over the eigenvalues l of the rows' covariance; features: (rows, dimension)."""
    centred = features.double() - features.double().mean(0)
    covariance = centred.T @ centred
    return float(covariance.trace() ** 2 / covariance.square().sum().clamp_min(1e-30))


def class_means(features: Tensor, labels: Tensor) -> Tensor:
    """The mean of each class that occurs, (classes, dimension)."""
    return torch.stack([features[labels == label].mean(0) for label in labels.unique()])


def lateral_features(session: Session, rows: int = 1000) -> tuple[Tensor, Tensor]:
    """Globally averaged outputs of the coarsest lateral on the first validation images, and their labels."""
    split = session.data.split("valid")
    found: list[Tensor] = []

    def keep(layer, forward, args, kwargs):  # type: ignore[no-untyped-def]
        output = forward(*args, **kwargs)
        if layer.name == session.network.hidden[-1].name:
            found.append(tensor_leaves(output)[-1].float().mean((2, 3)))
        return output

    predictor = session.predictor
    with predictor.eval_mode(), intercept_layers(session.network.layers, keep):
        session.network(predictor.preprocess(split.images[:rows]))
    return found[0], split.labels[:rows]


def main() -> None:
    """Train each form for the same steps, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="faces")
    parser.add_argument("--data-path")
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    given = parser.parse_args()
    data = {"name": given.data} | ({"path": given.data_path} if given.data_path else {})
    registry = Registry.load()
    print(f"{'form':45} {'rank':>6} {'class rank':>10} {'gradient':>9} {'valid':>6}")
    for title, rule in FORMS.items():
        asked = {
            "rule": {"name": "hsic", **rule},
            "model": {"name": "dense_fpn_small"},
            "data": data,
            "steps": given.steps,
            "threads": given.threads,
            "precision": given.precision,
        }
        session = Session.build(resolve_run(asked, registry))
        phase = session.phases[0]
        apply_phase(phase, session.network, session.trainable)
        gradients: list[Tensor] = []
        watch(session.optimizers, gradients)
        for step in range(given.steps):
            train_step(session, phase, step)
        features, labels = lateral_features(session)
        valid = session.predictor.scores(session.data.split("valid")).top1
        middle = float(torch.cat(gradients).median())
        print(
            f"{title:45} {participation(features):6.2f} {participation(class_means(features, labels)):10.2f} "
            f"{middle:9.1e} {valid:6.3f}",
            flush=True,
        )


def watch(optimizers: LayerOptimizers, gradients: list[Tensor]) -> None:
    """Keep a sample of the hidden layers' absolute gradients, just before each optimizer steps."""
    step = optimizers.step

    def watched(name: str) -> None:
        if name != "readout" and name in optimizers.by_layer:
            first = optimizers.by_layer[name].param_groups[0]["params"][0]
            gradients.append(first.grad.abs().flatten()[:50].clone())
        step(name)

    optimizers.step = watched  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
