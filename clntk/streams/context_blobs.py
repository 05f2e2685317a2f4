"""Two contexts, one set of stimuli: the task of Flesch et al. on lazy and rich coding."""

from typing import Literal

import torch
from torch import Tensor

from clntk.registry import register
from clntk.seeding import Seeds
from clntk.streams.base import Split, Task, TaskStream

GRID = 5
BLOB_VARIANCE = 0.08


@register("stream", fixed=True)
def context_blobs(
    seeds: Seeds,
    *,
    order: Literal["AB", "BA"] = "AB",
    context: Literal["fixed", "absent"] = "fixed",
) -> TaskStream:
    """25 Gaussian blobs on a 5 × 5 grid in two contexts; context A rewards the column, context B the row.

    27 inputs: 25 pixels and a one-hot context, each block divided by its Frobenius norm over the 50 examples.
    Targets −2 … 2 along the relevant dimension; accuracy is the sign, with target 0 dropped. Training, test and
    probe sets are the same 25 examples of each context, so nothing here depends on the seed.

    Args:
        seeds: the run's generators (not used: the task is fixed).
        order: which context comes first when blocked.
        context: whether inputs tell the context; where it is absent its two columns are 0, so that the same network
            starts from the same weights, and the two tasks contradict each other. It is sluggish with
            ``context_rate``, an option of all streams.

    Source: Flesch et al. 2022, Neuron 110:1258, methods.
    """
    del seeds
    pixels = blob_images()
    pixels = pixels / (2**0.5 * pixels.norm())  # each stimulus is shown in both contexts
    row, column = torch.arange(GRID**2) // GRID, torch.arange(GRID**2) % GRID
    relevant = {"A": column, "B": row}
    tasks = []
    for name in order:
        cue = torch.zeros(GRID**2, 2)
        if context == "fixed":
            cue[:, "AB".index(name)] = 1 / (2 * GRID**2) ** 0.5
        split = Split(torch.cat([pixels, cue], dim=1), (relevant[name] - 2.0)[:, None].float())
        tasks.append(Task(name, split, split, split))
    return TaskStream(
        tuple(tasks),
        outputs=1,
        target="value",
        accuracy="sign",
        chance=0.5,
        input_groups={"stimulus": (0, GRID**2), "context": (GRID**2, GRID**2 + 2)},
    )


def blob_images() -> Tensor:
    """The 25 stimuli as 5 × 5 pixel images, flattened (25 × 25), each with maximum 1.

    Stimulus 5·row + column has its centre at linspace(.2, .8, 5) in both dimensions; pixels lie at
    linspace(0, 1, 5)².
    """
    centre, pixel = torch.linspace(0.2, 0.8, GRID), torch.linspace(0, 1, GRID)
    profile = -((centre[:, None] - pixel[None, :]) ** 2) / (2 * BLOB_VARIANCE)
    log_image = profile[:, None, :, None] + profile[None, :, None, :]  # row, column, pixel row, pixel column
    image = log_image.reshape(GRID**2, GRID**2).exp()
    return image / image.max(dim=1, keepdim=True).values
