"""That each strategy protects old tasks where its paper says so: digits, several seeds, with its default options."""

import pytest
import torch

from clntk import registry
from clntk.seeding import Seeds
from clntk.strategies.learner import Setup

SEEDS = range(4)
PERMUTED = {"stream": "permuted_digits", "n_tasks": 3}
SPLIT = {"stream": "split_digits", "n_tasks": 5}

# the stream on which the paper claims it: with new inputs for the same labels, or with new labels
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
    "lwf": PERMUTED,
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


def _forgetting(name, seed, *, stream, n_tasks):
    """Mean over all tasks but the last of the highest accuracy minus the last one, and the final mean accuracy."""
    tasks = registry.get("stream", stream)(Seeds(seed), n_tasks=n_tasks)
    torch.manual_seed(seed)
    model = registry.get("model", "mlp")(tasks.shape, width=64, depth=1)
    learner = registry.get("strategy", name)(
        Setup(model, tasks, seeds=Seeds(seed)), epochs=5, batch_size=32, lr=0.05
    )
    torch.manual_seed(seed + 1)
    rows = []
    for phase in learner.stream.phases:
        learner.train(phase)
        rows.append([learner.evaluate(task.test, t)[1] for t, task in enumerate(tasks.tasks)])
    accuracy = torch.tensor(rows)
    return float((accuracy.max(0).values - accuracy[-1])[:-1].mean()), float(accuracy[-1].mean())


@pytest.fixture(scope="module")
def naive():
    return {
        claim["stream"]: [_forgetting("naive", seed, **claim) for seed in SEEDS]
        for claim in (PERMUTED, SPLIT)
    }


def test_every_strategy_has_its_claim():
    """Context gating is tested on blocked contexts, joint training does not come task after task."""
    others = {"naive", "joint", "context_gating", "hebbian_gating"}
    assert set(CLAIMS) == set(registry.names("strategy")) - others


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_forgets_less_than_naive_training(name, naive):
    claim = CLAIMS[name]
    found = [_forgetting(name, seed, **claim) for seed in SEEDS]
    saved = torch.tensor([n[0] - f[0] for n, f in zip(naive[claim["stream"]], found, strict=True)])
    gained = torch.tensor([f[1] - n[1] for n, f in zip(naive[claim["stream"]], found, strict=True)])
    assert (saved > 0).all(), f"forgetting saved: {saved.tolist()}"
    assert saved.mean() > 2 * saved.std() / len(SEEDS) ** 0.5
    assert gained.mean() > 0, f"the price is a worse network: {gained.tolist()}"
