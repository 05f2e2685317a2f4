"""Two contexts, one set of stimuli: the task of Flesch et al. on lazy and rich coding."""

from typing import Annotated, Literal

import torch
from pydantic import Field
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
    pixels: Literal["frobenius", "peak"] = "frobenius",
    context_value: Annotated[float, Field(gt=0)] | None = None,
    centre: bool = False,
) -> TaskStream:
    """25 Gaussian blobs on a 5 × 5 grid in two contexts; context A rewards the column, context B the row.

    27 inputs: 25 pixels and a one-hot context, by default each block over its Frobenius norm over the 50 examples.
    Targets −2 … 2 along the relevant dimension; accuracy is the sign, with target 0 dropped. Training, test and
    probe sets are the same 25 examples of each context, so nothing here depends on the seed.

    Args:
        seeds: the run's generators (not used: the task is fixed).
        order: which context comes first when blocked.
        context: whether inputs tell the context; where it is absent its two columns are 0, so that the same network
            starts from the same weights, and the two tasks contradict each other. It is sluggish with
            ``context_rate``, an option of all streams.
        pixels: ``frobenius`` divides by the norm over the 50 examples; ``peak`` leaves every blob's maximum at 1.
        context_value: of the context that is on; by default 1/√50, which is what its block's norm leaves.
        centre: whether the mean over all examples is taken off every input.

    Source: Flesch et al. 2022, Neuron 110:1258, methods; with ``peak``, a context value of 1 to 6 and ``centre``,
    Flesch, Nagy et al. 2023, PLoS Comput Biol 19:e1010808.
    """
    del seeds
    images = blob_images()
    if pixels == "frobenius":
        images = images / (2**0.5 * images.norm())  # each stimulus is shown in both contexts
    on = (2 * GRID**2) ** -0.5 if context_value is None else context_value
    mean = torch.cat([images.mean(0), torch.full((2,), on / 2 if context == "fixed" else 0.0)])
    row, column = torch.arange(GRID**2) // GRID, torch.arange(GRID**2) % GRID
    relevant = {"A": column, "B": row}
    tasks = []
    for name in order:
        cue = torch.zeros(GRID**2, 2)
        if context == "fixed":
            cue[:, "AB".index(name)] = on
        x = torch.cat([images, cue], dim=1)
        split = Split(x - mean if centre else x, (relevant[name] - 2.0)[:, None].float())
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
