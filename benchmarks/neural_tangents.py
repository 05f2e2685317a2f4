"""Google's neural-tangents as a peer, in a process and an environment of its own.

Its last version runs only on a JAX that wants numpy below 2, so it cannot share clntk's environment:

    python3.11 -m venv NT && NT/bin/pip install neural-tangents==0.6.5 jax==0.4.30 jaxlib==0.4.30 'numpy<2'

`NeuralTangents` starts this file with that environment's Python, which compiles the kernel and then answers lines:
``time`` runs it and says the seconds, ``save PATH`` stores it. A race thus measures neither start nor compilation.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn


class NeuralTangents:
    """The kernel of an `nn.Sequential` by neural-tangents; start and compilation happen on entering.

    Args:
        python: the interpreter of an environment that holds neural-tangents.
        model: linear, convolution, ReLU, tanh and flatten layers; all parameters count.
        x: inputs, in the dtype of the parameters.
        mode: ``full``, (N, C, M, C), or ``trace``, (N, M), the sum over outputs.
        x2: other inputs; by default ``x``.

    Raises:
        ValueError: for another mode or layer, or parameters that are frozen or shared.
        RuntimeError: when the process ends, with the end of what it said.
    """

    def __init__(
        self, python: Path, model: "nn.Sequential", x: "Tensor", mode: str, x2: "Tensor | None" = None
    ) -> None:
        import torch

        if mode not in ("full", "trace"):
            raise ValueError(f"NeuralTangents.mode: expected full or trace, found {mode!r}")
        parameters = dict(model.named_parameters(remove_duplicate=False))
        if len({id(p) for p in parameters.values() if p.requires_grad}) < len(parameters):
            raise ValueError("NeuralTangents: expected parameters that are neither frozen nor shared")
        about = {"layers": layers_of(model), "mode": mode, "threads": torch.get_num_threads()}
        tensors = {**parameters, "x": x} | ({} if x2 is None else {"x2": x2})
        self._arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        self._arrays["about"] = np.array(json.dumps(about))
        self._python = python

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            weights = self._folder / "weights.npz"
            np.savez(weights, **self._arrays)
            said = stack.enter_context((self._folder / "stderr").open("wb"))
            pipe = subprocess.PIPE
            self._worker = subprocess.Popen(
                [self._python, __file__, weights], stdin=pipe, stdout=pipe, stderr=said, text=True
            )
            stack.callback(self._worker.communicate)
            stack.callback(self._worker.kill)
            self._answer()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def seconds(self) -> float:
        """The time of one run."""
        return float(self._ask("time"))

    def kernel(self) -> "Tensor":
        """Its values in our layout and scale."""
        import torch

        path = self._folder / "kernel.npy"
        self._ask(f"save {path}")
        return torch.from_numpy(np.load(path))

    def _ask(self, line: str) -> str:
        with contextlib.suppress(BrokenPipeError):  # it has ended: the answer says how
            print(line, file=self._worker.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        line = self._worker.stdout.readline()
        if not line:
            tail = (self._folder / "stderr").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"neural-tangents ended with status {self._worker.wait()}:\n{tail}")
        return line


def layers_of(model: "nn.Sequential") -> list[dict[str, Any]]:
    """What the other side needs to know of each layer beside its weights."""
    from torch import nn

    kinds = {nn.Linear: "linear", nn.ReLU: "relu", nn.Tanh: "tanh", nn.Flatten: "flatten", nn.Conv2d: "conv"}
    layers: list[dict[str, Any]] = []
    for name, layer in model.named_children():
        about: dict[str, Any] = {"name": name, "kind": kinds.get(type(layer))}
        known = about["kind"] is not None
        if about["kind"] == "flatten":
            known = (layer.start_dim, layer.end_dim) == (1, -1)
        elif about["kind"] == "conv":
            known = (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
            about |= {"stride": layer.stride, "padding": [(p, p) for p in layer.padding]}
            known = known and not isinstance(layer.padding, str)
        if not known:
            raise ValueError(
                "NeuralTangents: expected Linear, ReLU, Tanh, Flatten from axis 1 and Conv2d with numbers as zero "
                f"padding, no groups and no dilation, found {name}: {layer}"
            )
        layers.append(about)
    return layers


def work(path: Path) -> None:
    """The other side: read, compile, say ready, answer until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print too
    sys.path.pop(0)  # this folder, where a file has the library's name: this one
    with np.load(path) as stored:
        arrays = dict(stored)
    about = json.loads(str(arrays.pop("about")))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: about["threads"]])  # XLA takes a thread a core

    import jax
    from jax._src import source_info_util
    from jax.interpreters import ad

    ad.config, ad.source_info_util = jax.config, source_info_util  # two that this JAX no longer shows there
    import neural_tangents as nt

    jax.config.update("jax_enable_x64", arrays["x"].dtype == np.float64)
    x, x2 = arrays.pop("x"), arrays.pop("x2", None)
    full = about["mode"] == "full"

    def layer(parameters: dict[str, Any], h: Any, *, name: str, kind: str, **how: Any) -> Any:
        if kind == "flatten":
            return h.reshape(len(h), -1)
        if kind in ("relu", "tanh"):
            return getattr(jax.nn, kind)(h)
        weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias", np.zeros(1, x.dtype))
        if kind == "linear":  # not h @ weight.T, which hides the structure: 200 times slower
            return jax.lax.dot_general(h, weight, (((1,), (1,)), ((), ()))) + bias
        order = ("NCHW", "OIHW", "NCHW")
        h = jax.lax.conv_general_dilated(h, weight, how["stride"], how["padding"], dimension_numbers=order)
        return h + bias[:, None, None]

    def logits(parameters: dict[str, Any], x: Any) -> Any:
        return functools.reduce(lambda h, how: layer(parameters, h, **how), about["layers"], x)

    ntk = nt.empirical_ntk_fn(
        logits,
        trace_axes=() if full else (-1,),  # the mean over outputs
        vmap_axes=0,
        implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
    )
    outputs = jax.eval_shape(logits, arrays, x).shape[-1]
    compiled, inputs = jax.jit(ntk), jax.device_put((x, x2, arrays))
    compiled(*inputs).block_until_ready()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        command, _, where = line.strip().partition(" ")
        start = time.perf_counter()
        value = compiled(*inputs).block_until_ready()
        seconds = time.perf_counter() - start
        if command == "save":
            value = np.asarray(value)
            np.save(where, value.transpose(0, 2, 1, 3) if full else outputs * value)
        print(seconds, file=answers, flush=True)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
