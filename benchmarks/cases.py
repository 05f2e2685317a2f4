"""Which kernels are raced, against whom, and how much faster ours has to be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn


def mlp(outputs: int = 10) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, outputs)
    )


def cnn(*, pooled: bool = False) -> nn.Sequential:
    """Convolutions of 32, 64 and 64 channels on 32 × 32 pixels, read out from all positions or from their mean."""
    layers = [
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(),
    ]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers, *(end if pooled else [nn.Flatten(), nn.Linear(64 * 64, 10)]))


def resnet() -> nn.Module:
    """ResNet-18 with the first layer that is usual on 32 × 32 pixels."""
    from torchvision.models import resnet18

    model = resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model.eval()


@dataclass(frozen=True)
class Case:
    """One kernel.

    Args:
        name: as in the table.
        make: the network.
        shape: of the inputs, examples first.
        mode: of the kernel.
        bars: peer → how many times our time it has to take at least; 0 for a peer without a bar.
        limit: how many times the limit we may take at most, if that is asked.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    mode: str
    bars: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None


IMAGE = (3, 32, 32)
CASES = (
    Case("MLP, N=128", mlp, (128, 784), "full", {"torch.func": 250, "nngeometry": 0, "neural-tangents": 0}),
    Case("MLP, N=256", mlp, (256, 784), "full", {"nngeometry": 5.5, "neural-tangents": 2}),
    Case("MLP, N=1000", mlp, (1000, 784), "full", {"nngeometry": 5, "neural-tangents": 2.7}, 2.5),
    Case("MLP, N=1000", mlp, (1000, 784), "trace", {"neural-tangents": 1.4}, 2.5),
    Case("MLP, C=100, N=64", lambda: mlp(100), (64, 784), "full", {"nngeometry": 20, "neural-tangents": 0}),
    Case(
        "CNN, N=100",
        cnn,
        (100, *IMAGE),
        "full",
        {"torch.func": 1.8, "nngeometry": 1.8, "neural-tangents": 1.8},
        3,
    ),
    Case("CNN with mean pooling, N=100", lambda: cnn(pooled=True), (100, *IMAGE), "full", {"torch.func": 0}),
    Case("ResNet-18, N=16", resnet, (16, *IMAGE), "full", {"torch.func": 4}),
)
SIZES = (16, 32, 64, 128, 256, 512, 1000)  # of the figure
LARGEST = {"torch.func": 128}  # examples at which a peer still fits in memory
