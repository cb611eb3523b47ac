"""The HSIC bottleneck in plain PyTorch, without localrules: python examples/hsic_without_localrules.py

Everything that the framework does for the rule ``hsic`` is written out here once, for a network of three hidden layers
on scikit-learn's 8 x 8 digits. It is meant to be read, and it is an independent witness: a test trains the same network
from the same weights on the same batches with localrules and finds the same weights afterwards.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

BETA = 100.0


def cosine_gram(features: Tensor) -> Tensor:
    """Cosines between the samples of a batch, each less the batch's mean: (batch, features) to (batch, batch)."""
    features = functional.normalize(features - features.mean(0))
    return features @ features.T


def centred_and_normalised(gram: Tensor) -> Tensor:
    """H K H divided by its Frobenius norm, with H = I - 11'/m."""
    m = len(gram)
    h = torch.eye(m) - 1 / m
    centred = h @ gram @ h
    return centred / centred.norm()


def objective(output: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """HSIC(Z, X) - beta HSIC(Z, Y), each a trace of normalised Gram matrices: forget the image, keep the label."""
    z = centred_and_normalised(cosine_gram(output))
    x = centred_and_normalised(cosine_gram(images))
    y = centred_and_normalised((labels[:, None] == labels).float())
    return torch.trace(z @ x) - BETA * torch.trace(z @ y)


def network(width: int = 128, inputs: int = 64, classes: int = 10) -> tuple[list[nn.Module], nn.Linear]:
    """Three hidden layers, each linear, norm, activation; and a readout."""
    sizes = [inputs, width, width, width]
    hidden: list[nn.Module] = [
        nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()) for before, after in pairwise(sizes)
    ]
    return hidden, nn.Linear(width, classes)


def step(
    hidden: list[nn.Module],
    readout: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    images: Tensor,
    labels: Tensor,
) -> float:
    """One training step: every layer learns by its own objective, on inputs that come detached."""
    features = images.flatten(1)
    for layer, optimizer in zip(hidden, optimizers, strict=False):
        output = layer(features)
        objective(output, images.flatten(1), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        features = output.detach()  # no gradient crosses a layer's border
    loss = functional.cross_entropy(readout(features), labels)
    loss.backward()
    optimizers[-1].step()
    optimizers[-1].zero_grad()
    return float(loss.detach())


def main() -> None:
    """Train on 1,437 digits, score on the other 360."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    images = (images - images[:1437].mean()) / images[:1437].std()
    labels = torch.tensor(digits.target)
    hidden, readout = network()
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(part.parameters(), lr=0.002) for part in (*hidden, readout)
    ]
    for epoch in range(10):
        for rows in torch.randperm(1437)[: 11 * 128].split(128):
            loss = step(hidden, readout, optimizers, images[rows], labels[rows])
        print(f"epoch {epoch + 1:2}  readout's loss {loss:.3f}")
    whole = nn.Sequential(*hidden, readout).eval()
    with torch.no_grad():
        right = (whole(images[1437:]).argmax(1) == labels[1437:]).float().mean()
    print(f"test accuracy {right:.3f}")


if __name__ == "__main__":
    main()
