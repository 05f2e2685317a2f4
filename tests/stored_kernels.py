"""A small network, its inputs and its kernel's tiles on disk, for the tests of kernels that are written."""

import torch
from torch import nn

N, C = 7, 3
LAYOUTS = ("ncmd", "cndm")


def net(*, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C)).to(dtype)


def inputs(n=N, *, seed=1):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bytes_of(side, *, outputs=C, item=8):
    """Of a tile of so many examples a side."""
    return (side * outputs) ** 2 * item


def tiles(folder):
    """The tiles on disk, as (probe, other_probe)."""
    files = [path.relative_to(folder / "c").parts for path in folder.glob("c/**/*") if path.is_file()]
    keep = (0, 1) if len(files[0]) == 2 else (0, 2)
    return sorted(tuple(int(parts[k]) for k in keep) for parts in files)


def snapshot(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in (folder, *folder.rglob("*"))
    }
