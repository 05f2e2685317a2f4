"""Makes infinite_values.npz, which test_against_neural_tangents_limits.py reads.

    NT/bin/python tests/kernels/infinite/make_infinite_values.py

NT is an environment that holds neural-tangents: benchmarks/neural_tangents.py says how to make one. For each network
the file holds x1 (4 inputs), x2 (3; of them the last is parallel to x1's first), all float64 and images with channels
first, and neural-tangents' infinite-width kernels ``nngp`` and ``ntk`` of x1 with x2, and ``own`` (NTK of x1).
"""

from pathlib import Path

import numpy as np

VALUES = Path(__file__).with_name("infinite_values.npz")
WIDTH = 7  # of hidden layers; matters in standard parametrisation alone

DENSE = {
    "relu": {"activation": "relu", "sigma_w": [1.4, 1.1, 0.9], "sigma_b": [0.3, 0.2, 0.1]},
    "relu, standard": {
        "activation": "relu",
        "sigma_w": [1.4, 1.1, 0.9],
        "sigma_b": [0.3, 0.2, 0.1],
        "parametrization": "standard",
    },
    "leaky_relu": {
        "activation": "leaky_relu",
        "sigma_w": [1.2, 1.3, 1.0, 0.8],
        "sigma_b": [0.1, 0.2, 0.3, 0.0],
    },
    "erf": {"activation": "erf", "sigma_w": [1.5, 1.2, 1.0], "sigma_b": [0.2, 0.1, 0.4]},
    "gelu": {"activation": "gelu", "sigma_w": [1.5, 1.2, 1.0], "sigma_b": [0.2, 0.1, 0.4]},
}  # depth is the number of σ but one
CONVOLUTIONS = {
    "mean": {"pooling": "mean", "padding": "same", "stride": 1},
    "flatten": {"pooling": "flatten", "padding": "same", "stride": 1},
    "mean, strided": {"pooling": "mean", "padding": "valid", "stride": 2},
    "flatten, strided": {"pooling": "flatten", "padding": "valid", "stride": 2},
}  # all of them:
CONVOLUTIONAL = {"activation": "relu", "sigma_w": [1.4, 1.2, 0.9], "sigma_b": [0.3, 0.2, 0.1]}


def main() -> None:
    import jax
    from jax._src import source_info_util
    from jax.interpreters import ad

    ad.config, ad.source_info_util = jax.config, source_info_util  # two that this JAX no longer shows there
    jax.config.update("jax_enable_x64", True)

    from neural_tangents import stax

    activations = {
        "relu": stax.Relu(),
        "leaky_relu": stax.LeakyRelu(0.01),
        "erf": stax.Erf(),
        "gelu": stax.Gelu(approximate=False),
    }

    def dense(*, activation, sigma_w, sigma_b, parametrization="ntk"):
        layers = []
        for index, (w, b) in enumerate(zip(sigma_w, sigma_b, strict=True)):
            layers += [activations[activation]] if index else []
            layers.append(stax.Dense(WIDTH, w, b, parameterization=parametrization))
        return stax.serial(*layers)

    def convolutional(*, pooling, padding, stride):
        *convolutions, readout = zip(CONVOLUTIONAL["sigma_w"], CONVOLUTIONAL["sigma_b"], strict=True)
        layers = []
        for w, b in convolutions:
            layers += [stax.Conv(WIDTH, (3, 3), (stride, stride), padding.upper(), w, b), stax.Relu()]
        layers.append(stax.GlobalAvgPool() if pooling == "mean" else stax.Flatten())
        return stax.serial(*layers, stax.Dense(WIDTH, *readout))

    networks = {name: (dense(**options), (5,)) for name, options in DENSE.items()}
    networks |= {name: (convolutional(**options), (2, 9, 8)) for name, options in CONVOLUTIONS.items()}
    stored, rng = {}, np.random.default_rng(0)
    for name, ((_, _, kernel_fn), shape) in networks.items():
        x1, x2 = rng.standard_normal((4, *shape)), rng.standard_normal((3, *shape))
        x2[2] = -2 * x1[0]
        last = [np.moveaxis(x, 1, -1) for x in (x1, x2)]
        found = kernel_fn(*last, ("nngp", "ntk"))
        held = {
            "x1": x1,
            "x2": x2,
            "nngp": found.nngp,
            "ntk": found.ntk,
            "own": kernel_fn(last[0], None, "ntk"),
        }
        stored |= {f"{name}/{key}": np.asarray(value) for key, value in held.items()}
    np.savez_compressed(VALUES, **stored)


if __name__ == "__main__":
    main()
