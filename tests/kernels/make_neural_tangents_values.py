"""Makes neural_tangents_values.npz, which test_against_neural_tangents.py reads.

    python tests/kernels/make_neural_tangents_values.py NT/bin/python

NT is an environment that holds neural-tangents: benchmarks/neural_tangents.py says how to make one. Each network of
the test gives its weights, x1 (4 inputs) and x2 (3), all float64, and neural-tangents' kernels: ``full`` of x1 with
itself, (N, C, N, C), ``cross`` of x1 with x2, (N, C, M, C), and ``trace`` of x1, (N, N), summed over outputs.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from test_against_neural_tangents import NETS, VALUES
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from neural_tangents import NeuralTangents

SHAPES = {"relu": (5,), "tanh": (4,), "convolutions": (2, 6, 6), "one output": (5,)}


def main(python: Path) -> None:
    stored: dict[str, Tensor] = {}
    for seed, (name, make) in enumerate(NETS.items()):
        torch.manual_seed(seed)
        model = make().double()
        x1, x2 = (torch.randn(n, *SHAPES[name], dtype=torch.float64) for n in (4, 3))
        held = {**model.state_dict(), "x1": x1, "x2": x2}
        for kernel, mode, other in (("full", "full", None), ("cross", "full", x2), ("trace", "trace", None)):
            with NeuralTangents(python, model, x1, mode, other) as peer:
                held[kernel] = peer.kernel()
        stored |= {f"{name}/{key}": value for key, value in held.items()}
    np.savez_compressed(VALUES, **{key: value.numpy() for key, value in stored.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
