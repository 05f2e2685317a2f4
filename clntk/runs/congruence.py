"""How a published run's networks judge stimuli on which their tasks agree, and those on which they do not."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clntk.axes import CHECKPOINT
from clntk.capture.lesion import lesioned_outputs
from clntk.capture.look import hidden_layers
from clntk.errors import NotApplicable
from clntk.measures.congruence import CONGRUENCE, CONGRUENT, LESION, LESIONS
from clntk.measures.stimuli import deciding_features
from clntk.measures.tuning import unit_tuning
from clntk.runs.lesions import rectified_activity
from clntk.runs.opened import Run
from clntk.runs.rebuild import ProbeSets
from clntk.strategies.training import answered


def congruence(run: Run) -> xr.Dataset:
    """Accuracy on congruent and on incongruent stimuli, intact and without the units that are active in one task alone.

    A stimulus is congruent if all tasks ask for the same sign, incongruent if they do not; those that a task has no
    sign for are left out. Task-only units of all tasks and layers are silenced together.

    Returns:
        ``accuracy`` (checkpoint, lesion, congruence), over the probes of all tasks; ``silenced`` (checkpoint), how
        many units the lesion is of.

    Raises:
        NotApplicable: for a stream whose tasks do not judge the same stimuli by the sign of a value each.
    """
    features = deciding_features(run.fact("probes"))
    if features is None or run.probe_sets.stream.accuracy != "sign":
        raise NotApplicable(
            f"congruence: expected tasks that judge the same stimuli by a value each, as context_blobs does, found the "
            f"stream {run.spec.stream['name']!r}"
        )
    agree = _agreement(np.sign(features))
    sets, networks = run.probe_sets, {label: run.network(label) for label in run.checkpoints}
    paths = hidden_layers(networks[run.checkpoints[0]])
    tuning = unit_tuning(rectified_activity(networks, paths, sets.inputs), null=0)
    rows, sizes = [], []
    for label, network in networks.items():
        now = tuning["task_only"].sel({CHECKPOINT: label})
        silenced = {name: now.values[now["layer"].values == name] for name in paths}
        rows.append(_accuracies(network, paths, sets, silenced, agree))
        sizes.append(int(now.sum()))
    coords = run.fact("outputs")[CHECKPOINT].coords
    return xr.Dataset(
        {"accuracy": ((CHECKPOINT, LESION, CONGRUENCE), np.stack(rows)), "silenced": (CHECKPOINT, sizes)},
        coords={**coords, LESION: list(LESIONS), CONGRUENCE: list(CONGRUENT)},
    )


def _agreement(signs: np.ndarray) -> np.ndarray:
    """1 where all are the same and not 0, −1 where they differ, 0 where one is 0; of shape (stimuli, tasks)."""
    alike = (signs == signs[:, :1]).all(axis=1)
    return np.where((signs == 0).any(axis=1), 0, np.where(alike, 1, -1))


def _accuracies(
    network: nn.Module,
    paths: dict[str, str],
    sets: ProbeSets,
    silenced: dict[str, np.ndarray],
    agree: np.ndarray,
) -> np.ndarray:
    """Shape (lesion, congruence)."""
    tables = {
        name: torch.from_numpy(np.stack([np.zeros_like(mask), mask])) for name, mask in silenced.items()
    }
    x, y = (torch.cat(list(part.values())) for part in (sets.inputs, sets.targets))
    outputs: Tensor = lesioned_outputs(network, paths, x, tables)
    right, counted = (
        torch.stack([answered(f, y, "sign")[i] for f in outputs]).cpu().numpy() for i in range(2)
    )
    of_each = np.tile(agree, len(sets.inputs))
    kinds = [of_each > 0, of_each < 0]
    return np.stack([right[:, kind].sum(1) / counted[:, kind].sum(1) for kind in kinds], axis=1)
