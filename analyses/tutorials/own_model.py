"""
Your own network and data, from nothing to a report
===================================================

Any PyTorch module, any arrays: twenty lines train them task after task, rich and lazy, and end with a report.
Run it as ``python analyses/tutorials/own_model.py FOLDER``; it takes about a minute.
"""

import sys

from sklearn.datasets import load_digits
from torch import nn

import clntk

# %%
# The data: here two tasks, to tell the digits 0 to 4 apart, and then 5 to 9. The network: a function that is told the
# shape of the inputs and the number of outputs. Keyword-only parameters become options.

x, digit = load_digits(return_X_y=True)


@clntk.register("stream")
def low_then_high(seeds):
    """Low digits, then high ones."""
    tasks = [(x[digit // 5 == part] / 16, digit[digit // 5 == part] % 5) for part in (0, 1)]
    return clntk.stream_from(tasks, names=["low", "high"], test=0.25, seed=seeds)


@clntk.register("model")
def my_network(shape, *, width: int = 100):
    """Two layers of rectified units."""
    layers = [nn.Linear(shape.inputs[0], width), nn.Linear(width, width), nn.Linear(width, shape.outputs)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


# %%
# What is compared: the same network, rich and lazy (its output scaled by 100, its weights hardly move). Both stop
# at the same training loss. Each seed is a network of its own, and the unit of replication.

runs = clntk.run(
    {
        "name": "low_then_high",
        "stream": "low_then_high",
        "model": {"name": "my_network", "width": 64},
        "strategy": {"name": "naive", "epochs": 60, "batch_size": 32, "lr": 0.05, "stop_loss": 0.1},
        "regimes": {
            "rich": {"name": "output_scale", "alpha": 1},
            "lazy": {"name": "output_scale", "alpha": 100},
        },
        "measures": [
            "final_train_loss",
            "kernel_distance",
            "forgetting",
            "cross_task_overlap",
            "unit_tuning",
        ],
        "seeds": 3,
    },
    store=f"{sys.argv[1] if len(sys.argv) > 1 else 'own'}/runs",
)

# %%
# The table: means over seeds, intervals, paired differences. A store holds what was run, so that running the script
# again computes nothing twice; a changed script makes new runs.

print(
    clntk.compare_regimes(runs)[["measure", "regime", "n", "estimate", "low", "high"]].to_string(index=False)
)

# %%
# The report: one HTML file, with the answer in sentences, figures, what can be chosen in them, and what a paper would
# say.

print(clntk.write_report(runs, f"{runs.root}/results/report.html"))
