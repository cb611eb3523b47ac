"""Networks as people write them, knowing nothing of layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels * stride, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels * stride)
        self.conv2 = nn.Conv2d(channels * stride, channels * stride, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels * stride)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(channels, channels * stride, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y)


class Residual(nn.Module):
    """As torchvision's ResNets: in-place activations and sums, ``flatten``, a linear classifier."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(ResidualBlock(4), ResidualBlock(4, stride=2))
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        x = functional.adaptive_avg_pool2d(x, 1)
        return self.fc(self.dropout(torch.flatten(x, 1)))


class NormFirst(nn.Module):
    """As DenseNet: norm and activation stand in front of the convolution, and every layer reads all before it."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, 4, 3, 2, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 3 * index) for index in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4 + 3 * index, 3, 3, 1, 1, bias=False) for index in range(3))
        self.last_norm = nn.BatchNorm2d(13)
        self.classifier = nn.Linear(13, classes)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.size(0)  # read at the front, used at the end
        known = [self.conv0(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            known.append(conv(functional.relu(norm(torch.cat(known, 1)))))
        features = functional.relu(self.last_norm(torch.cat(known, 1)))
        return self.classifier(functional.adaptive_avg_pool2d(features, 1).view(rows, -1))


class Pyramid(nn.Module):
    """Two scales, merged top-down as in a feature pyramid network, and the input once more at the end."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, 4, 3, 2, 1)
        self.coarse = nn.Conv2d(4, 6, 3, 2, 1)
        self.lateral_fine = nn.Conv2d(4, 5, 1)
        self.lateral_coarse = nn.Conv2d(6, 5, 1)
        self.smooth = nn.Conv2d(5, 5, 3, 1, 1)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.tanh(self.fine(x))
        coarse = torch.tanh(self.coarse(fine))
        top = self.lateral_coarse(coarse)
        merged = self.lateral_fine(fine) + functional.interpolate(top, scale_factor=2, mode="nearest")
        features = torch.tanh(self.smooth(merged)).mean((2, 3))
        return self.head(torch.cat([features, x.mean((2, 3))], 1))


def sequential(classes: int = 4) -> nn.Sequential:
    """Convolutions one after the other."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 10),
        nn.ReLU(),
        nn.Linear(10, classes),
    )


PLAIN = {"residual": Residual, "norm-first": NormFirst, "pyramid": Pyramid, "sequential": sequential}
