"""A plan says by which way, and its operations follow the shapes."""

import torch
from torch import nn

import clntk


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.inner, self.out = nn.Conv2d(1, 4, 3), nn.Linear(64, 6), nn.Linear(6, 3, bias=False)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return self.out(torch.relu(self.inner(torch.relu(self.conv(x)).flatten(1))) * self.scale)


def test_each_layer_is_planned_and_counted():
    plan = clntk.ntk_plan(Net(), torch.randn(5, 1, 6, 6), 100)
    rows = {row.layer: row for row in plan.rows}
    assert {name: row.method for name, row in rows.items()} == {
        "forward and backward": "3 outputs",
        "conv": "jacobian",
        "inner": "gram",
        "out": "readout",
        "scale": "written out",
    }
    assert rows["inner"].flops == 100 * 100 * (
        65 + 9 * 7
    )  # inputs and bias, then nine output pairs of 6, and a product
    assert rows["scale"].flops == 100 * 100 * 9 * 6
    assert plan.kernel_bytes == (100 * 3) ** 2 * 4
    assert plan.flops == sum(row.flops for row in plan.rows)
    assert plan.seconds > 0


def test_a_trace_kernel_is_cheaper_and_smaller():
    x = torch.randn(5, 1, 6, 6)
    full, trace = clntk.ntk_plan(Net(), x), clntk.ntk_plan(Net(), x, mode="trace")
    assert trace.flops < full.flops
    assert trace.kernel_bytes == 25 * 4


def test_operations_grow_with_the_square_of_the_examples():
    x = torch.randn(2, 1, 6, 6)
    small, large = (clntk.ntk_plan(Net(), x, n) for n in (50, 500))
    gram = [next(row for row in plan.rows if row.layer == "inner").flops for plan in (small, large)]
    assert gram[1] == 100 * gram[0]


def test_it_reads_as_a_table():
    text = str(clntk.ntk_plan(Net(), torch.randn(3, 1, 6, 6)))
    assert text.splitlines()[0].split() == ["layer", "method", "FLOP", "bytes", "seconds"]
    assert text.splitlines()[-1].startswith("kernel: ")


def test_it_draws_from_no_global_generator():
    model, x = Net(), torch.randn(5, 1, 6, 6)
    before = torch.get_rng_state()
    clntk.ntk_plan(model, x)
    assert torch.equal(torch.get_rng_state(), before)
