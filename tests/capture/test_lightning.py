"""The Lightning callback records what a plain loop would, and disturbs nothing."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import clntk

# Lightning tells of deprecations of its own, and that so small a job needs no workers
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def lightning():
    """Imported where it is needed: it takes seconds."""
    return pytest.importorskip("lightning.pytorch", reason="needs lightning: pip install 'clntk[lightning]'")


@pytest.fixture(scope="module")
def callback(lightning):
    from clntk.capture.lightning import CaptureCallback

    return CaptureCallback


@pytest.fixture(scope="module")
def module(lightning):
    class Module(lightning.LightningModule):
        """A small network with dropout, whose training draws random numbers."""

        def __init__(self):
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            x, y = batch
            return nn.functional.cross_entropy(self(x), y)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module


@pytest.fixture(scope="module")
def fit(lightning):
    """Trains a module, watched by callbacks."""

    def fit(module, *callbacks, epochs=3, seed=1):
        generator = torch.Generator().manual_seed(seed)
        data = TensorDataset(torch.randn(12, 4, generator=generator), torch.arange(12) % 2)
        quiet = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "accelerator": "cpu",
        }
        torch.manual_seed(seed)
        trainer = lightning.Trainer(
            max_epochs=epochs, callbacks=list(callbacks), enable_model_summary=False, **quiet
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few workers, few batches
            trainer.fit(module, DataLoader(data, batch_size=4))

    return fit


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(3)
    return {task: torch.randn(5, 4, generator=generator) for task in "AB"}


def test_checkpoints_of_fits_and_epochs(inputs, module, callback, fit):
    module = module()
    capture = clntk.Capture(module, inputs=inputs)
    fit(module, callback(capture, task="A", every_n_epochs=1))
    fit(module, callback(capture, task="B"), epochs=2)
    found = [(r.checkpoint, r.step, r.task) for r in capture.records]
    assert found == [("init", 0, ""), ("A:1", 3, "A"), ("A:2", 6, "A"), ("A", 9, "A"), ("B", 15, "B")]
    facts = capture.facts()
    assert {"outputs", "activations", "kernels", "weights"} <= set(facts.children)
    module.eval()
    torch.testing.assert_close(
        torch.from_numpy(facts["outputs"]["outputs"].sel(checkpoint="B", eval_task="A").values),
        module(inputs["A"]).detach(),
    )


def test_looking_changes_nothing(inputs, module, callback, fit):
    watched, alone = module(), module()
    fit(watched, callback(clntk.Capture(watched, inputs=inputs), task="A", every_n_epochs=1))
    fit(alone)
    for a, b in zip(watched.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a, b)
