"""Accuracy on congruent and incongruent stimuli, with task-only units silenced, on a network built by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import clntk
from clntk.errors import NotApplicable
from clntk.measures.congruence import congruence_accuracy
from clntk.runs.congruence import congruence


@pytest.fixture
def run(write_protocol, tmp_path):
    model = {"name": "mlp", "width": 4, "depth": 1, "bias_init": 0.0}
    (made,) = clntk.run(write_protocol(tmp_path, model=model), store=tmp_path / "runs")
    return made


def by_hand(run, monkeypatch, *, gated):
    """Networks that answer each task through two units of its own (gated), or task A's rule in both."""
    probes = run.probe_sets.inputs
    x = torch.cat(list(probes.values()))
    y_a, y_b = (run.probe_sets.targets[task] for task in "AB")
    values = torch.cat([y_a, y_a])[:, 0], torch.cat([y_b, y_b])[:, 0]

    class Known(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden1 = nn.Sequential()
            self.hidden1.add_module("linear", nn.Identity())
            self.hidden1.add_module("activation", nn.ReLU())
            self.readout = nn.Linear(4, 1, bias=False)
            self.readout.weight.data = torch.tensor([[1.0, -1.0, 1.0, -1.0]])

        def forward(self, inputs):
            index = [int((x == row).all(1).nonzero()[0]) for row in inputs]
            in_a = torch.tensor([float(i < 25 or not gated) for i in index])
            a, b = values[0][index] * in_a, values[1][index] * (1 - in_a)
            return self.readout(self.hidden1(torch.stack([a, -a, b, -b], dim=1)))

    monkeypatch.setattr(run, "network", lambda label: Known())


def accuracies(run):
    found = congruence(run)
    last = congruence_accuracy(found).isel(checkpoint=-1)
    return {(str(a.lesion.values), str(a.congruence.values)): a.item() for row in last for a in row}, found


def test_units_of_single_tasks_carry_everything(run, monkeypatch):
    by_hand(run, monkeypatch, gated=True)
    found, facts = accuracies(run)
    assert found["intact", "congruent"] == found["intact", "incongruent"] == 1
    assert (
        found["task_only", "congruent"] == found["task_only", "incongruent"] == 0
    )  # the answer 0 is no sign
    assert facts["silenced"][-1].item() == 4


def test_one_rule_for_both_tasks_serves_congruent_stimuli_alone(run, monkeypatch):
    by_hand(run, monkeypatch, gated=False)
    found, facts = accuracies(run)
    assert found["intact", "congruent"] == found["task_only", "congruent"] == 1
    assert found["intact", "incongruent"] == 0.5
    assert facts["silenced"][-1].item() == 0


def test_as_the_network_itself_answers(run):
    found, _ = accuracies(run)
    f = np.concatenate([run.network("B")(x).detach().numpy() for x in run.probe_sets.inputs.values()])[:, 0]
    a, b = (run.probe_sets.targets[task].numpy()[:, 0] for task in "AB")
    own, agree = np.concatenate([a, b]), np.tile(np.sign(a * b), 2)
    for name, kind in (("congruent", agree > 0), ("incongruent", agree < 0)):
        assert found["intact", name] == pytest.approx((np.sign(f[kind]) == np.sign(own[kind])).mean())


def test_streams_of_labels_have_none(smoke_runs):
    with pytest.raises(NotApplicable, match="tasks that judge the same stimuli by a value each"):
        congruence(smoke_runs.runs[0])
