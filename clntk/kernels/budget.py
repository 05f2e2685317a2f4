"""Whether a kernel fits, said before it is computed."""

import math
import shutil
from pathlib import Path

import psutil
import torch

from clntk.errors import DataError

_CGROUP = Path("/sys/fs/cgroup")  # a container's own limit, which the machine's free memory does not show


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except OSError:
        return free


def refuse_beyond_memory(kernel_bytes: int, beside_bytes: int, device: torch.device) -> None:
    """
    Raises:
        DataError: if the kernel and what is held beside it need more than the free memory.
    """
    free = free_memory(device)
    if kernel_bytes + beside_bytes > free:
        raise DataError(
            f"empirical_ntk: expected a kernel that fits in the {in_words(free)} of free memory, found one of "
            f"{in_words(kernel_bytes)}, and {in_words(beside_bytes)} beside it; stream it to disk with "
            "out='kernel.zarr', take mode='trace', or do without the kernel: clntk.ntk_operator"
        )


def refuse_beyond_disk(needed: int, folder: Path) -> None:
    """
    Raises:
        DataError: if the disk has less room than is needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"empirical_ntk.out: expected {in_words(needed)} of free disk under {folder}, found {in_words(free)}; "
            "choose another place, fewer examples, or mode='trace'"
        )


def in_words(n_bytes: float) -> str:
    """1.2e10 → '12 GB'."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, int(math.log10(max(n_bytes, 1)) // 3))
    return f"{n_bytes / 1000**power:.3g} {units[power]}"
