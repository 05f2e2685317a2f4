"""That each strategy protects old tasks where its paper says so: digits, several seeds, with its default options."""

from functools import cache

import pytest
import torch
from kinds_of_strategies import descending

from clntk import registry
from clntk.seeding import Seeds
from clntk.strategies.learner import Setup
from clntk.streams.presentation import multi_head

SEEDS = range(4)
PERMUTED = {"stream": "permuted_digits", "n_tasks": 3}
SPLIT = {"stream": "split_digits", "n_tasks": 5}
# a head for each task, and so few units, moving so fast, that what the heads share is forgotten
HEADS = {"stream": "split_digits", "n_tasks": 5, "heads": True, "width": 8, "epochs": 20, "lr": 0.2}

# the stream on which the paper claims it: with new inputs for the same labels, with new labels, or with new heads
CLAIMS = {
    "agem": PERMUTED,
    "cumulative": PERMUTED,
    "cwr_star": SPLIT,
    "der": PERMUTED,
    "er_ace": SPLIT,
    "ewc": PERMUTED,
    "gdumb": SPLIT,
    "gem": PERMUTED,
    "gpm": PERMUTED,
    "lwf": HEADS,
    "mas": PERMUTED,
    "mir": SPLIT,
    "ogd": PERMUTED,
    "packnet": PERMUTED,
    "pca_ogd": PERMUTED,
    "replay": PERMUTED,
    "rwalk": PERMUTED,
    "si": PERMUTED,
    "xdg": SPLIT,
}


def _forgetting(name, seed, *, stream, n_tasks, heads=False, width=64, epochs=5, lr=0.05):
    """Mean over all tasks but the last of the highest accuracy minus the last one, and the final mean accuracy."""
    tasks = registry.get("stream", stream)(Seeds(seed), n_tasks=n_tasks)
    tasks = multi_head(tasks) if heads else tasks
    torch.manual_seed(seed)
    model = registry.get("model", "mlp")(tasks.shape, width=width, depth=1)
    learner = registry.get("strategy", name)(
        Setup(model, tasks, seeds=Seeds(seed)), epochs=epochs, batch_size=32, lr=lr
    )
    torch.manual_seed(seed + 1)
    rows = []
    for phase in learner.stream.phases:
        learner.train(phase)
        rows.append([learner.evaluate(task.test, t)[1] for t, task in enumerate(tasks.tasks)])
    accuracy = torch.tensor(rows)
    return float((accuracy.max(0).values - accuracy[-1])[:-1].mean()), float(accuracy[-1].mean())


@cache
def _naive(claim):
    return [_forgetting("naive", seed, **dict(claim)) for seed in SEEDS]


def test_every_strategy_has_its_claim():
    """Context gating is tested on blocked contexts, joint training does not come task after task."""
    others = {"naive", "joint", "context_gating", "hebbian_gating"}
    assert set(CLAIMS) == set(descending()) - others


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_forgets_less_than_naive_training(name):
    claim = CLAIMS[name]
    naive = _naive(tuple(claim.items()))
    found = [_forgetting(name, seed, **claim) for seed in SEEDS]
    saved = torch.tensor([n[0] - f[0] for n, f in zip(naive, found, strict=True)])
    gained = torch.tensor([f[1] - n[1] for n, f in zip(naive, found, strict=True)])
    assert (saved > 0).all(), f"forgetting saved: {saved.tolist()}"
    assert saved.mean() > 2 * saved.std() / len(SEEDS) ** 0.5
    assert gained.mean() > 0, f"the price is a worse network: {gained.tolist()}"
