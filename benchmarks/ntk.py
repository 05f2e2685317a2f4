"""The empirical NTK beside its peers: speed in one run, interleaved, minima over rounds, values compared.

    python benchmarks/ntk.py [--rounds 5] [--out benchmarks/results] [--only NAME]

Peers: torch.func (Jacobian contraction) and nngeometry (`pip install 'clntk[ref]'`). The limit is the time that the
operations of the plan alone would take at the speed of a matrix product measured in the same run.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

import clntk


def mlp(outputs: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, outputs)
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 64, 10),
    )


def resnet() -> nn.Module:
    from torchvision.models import resnet18

    model = resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model.eval()


def ours(model: nn.Module, x: Tensor, mode: str) -> Tensor:
    return clntk.empirical_ntk(model, x, mode=mode)


def torch_func(model: nn.Module, x: Tensor, mode: str) -> Tensor:
    """Jacobian contraction, as in torch's own tutorial on neural tangent kernels."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def logits(p: dict[str, Tensor], example: Tensor) -> Tensor:
        return functional_call(model, (p, buffers), (example[None],))[0]

    jacobian = vmap(jacrev(logits), (None, 0))(parameters, x)
    flat = [j.flatten(2) for j in jacobian.values()]
    how = "Naf,Maf->NM" if mode == "trace" else "Naf,Mbf->NaMb"
    return sum(torch.einsum(how, j, j) for j in flat)


def nngeometry(model: nn.Module, x: Tensor, mode: str) -> Tensor:
    """Its Gram matrix, (C, N, C, N); it has no trace mode."""
    from nngeometry.gram import GramMatrix
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(x, torch.zeros(len(x)))
    gram = GramMatrix(model, DataLoader(data, batch_size=len(x)), function=lambda batch, _: model(batch))
    return gram.data.permute(1, 0, 3, 2)


def torch_func_product(model: nn.Module, x: Tensor, v: Tensor) -> Tensor:
    """K v by one vector-Jacobian and one Jacobian-vector product."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def logits(p: dict[str, Tensor]) -> Tensor:
        return functional_call(model, p, (x,))

    outputs, pull = vjp(logits, parameters)
    return jvp(logits, (parameters,), pull(v.view_as(outputs)))[1].flatten()


@dataclass(frozen=True)
class Case:
    """One row of the table: a network, a number of examples, a mode, and the peers that can do it."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    mode: str
    peers: tuple[Callable[[nn.Module, Tensor, str], Tensor], ...]


CASES = (
    Case("MLP, N=128, full", mlp, (128, 784), "full", (torch_func, nngeometry)),
    Case("MLP, N=256, full", mlp, (256, 784), "full", (nngeometry,)),
    Case("MLP, N=1000, full", mlp, (1000, 784), "full", (nngeometry,)),
    Case("MLP, N=1000, trace", mlp, (1000, 784), "trace", ()),
    Case("MLP, C=100, N=64, full", lambda: mlp(100), (64, 784), "full", (nngeometry,)),
    Case("CNN, N=100, full", cnn, (100, 3, 32, 32), "full", (torch_func, nngeometry)),
    Case("ResNet-18, N=16, full", resnet, (16, 3, 32, 32), "full", (torch_func,)),
)


def timed(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def race(runners: dict[str, Callable[[], Tensor]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Minima over interleaved rounds after one to warm up, and each runner's relative difference from the first."""
    values = {name: timed(call)[1] for name, call in runners.items()}
    first = next(iter(values.values()))
    errors = {name: float((v - first).norm() / first.norm()) for name, v in values.items()}
    del values
    best = dict.fromkeys(runners, float("inf"))
    for _ in range(rounds):
        for name, call in runners.items():
            best[name] = min(best[name], timed(call)[0])
    return best, errors


def rows_of(case: Case, rounds: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    model, x = case.make(), torch.randn(*case.shape)
    limit = clntk.ntk_plan(model, x, mode=case.mode).seconds
    runners = {"clntk": lambda: ours(model, x, case.mode)}
    runners |= {peer.__name__: (lambda peer=peer: peer(model, x, case.mode)) for peer in case.peers}
    best, errors = race(runners, rounds)
    return [
        {
            "case": case.name,
            "runner": name,
            "seconds": seconds,
            "times ours": seconds / best["clntk"],
            "over the limit": seconds / limit,
            "difference": errors[name],
        }
        for name, seconds in best.items()
    ]


def product_rows(rounds: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    model, x = mlp(), torch.randn(1000, 784)
    operator, v = clntk.ntk_operator(model, x), torch.randn(10_000)
    best, errors = race(
        {"clntk": lambda: operator.matvec(v), "torch_func": lambda: torch_func_product(model, x, v)}, rounds
    )
    common = {"case": "MLP, N=1000, product with a vector", "over the limit": float("nan")}
    return [
        {**common, "runner": name, "seconds": s, "times ours": s / best["clntk"], "difference": errors[name]}
        for name, s in best.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", default="", help="cases whose name holds this")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for case in CASES:
        if options.only in case.name:
            rows += rows_of(case, options.rounds)
            print(
                pd.DataFrame(rows[-len(case.peers) - 1 :]).to_string(index=False, header=len(rows) < 5),
                flush=True,
            )
    if options.only in "product":
        rows += product_rows(options.rounds)
    table = pd.DataFrame(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "ntk.csv", index=False)
    print(f"\n{torch.get_num_threads()} threads, torch {torch.__version__}\n{table.to_string(index=False)}")


if __name__ == "__main__":
    main()
