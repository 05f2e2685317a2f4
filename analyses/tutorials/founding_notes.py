"""
From Gaussian processes to continual learning
=============================================

The founding notes of this project, as code: each step is computed, checked against trained networks, and drawn.
Run it as ``python analyses/tutorials/founding_notes.py FOLDER``; it takes less than a minute and writes its figures
into the folder.
"""

import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import clntk
from clntk.figures.style import GUIDE, house_style, panels

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "tutorial")
FOLDER.mkdir(parents=True, exist_ok=True)
plt.switch_backend("Agg")
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)


class Network(nn.Module):
    """Two hidden layers in NTK parametrisation: y = σ_w W x/√fan-in + σ_b b, with weights of variance one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [1, width, width, 1]
        self.weights = nn.ParameterList(
            torch.randn(b, a, generator=generator, dtype=torch.float64) for a, b in pairwise(sizes)
        )
        self.biases = nn.ParameterList(
            torch.randn(b, generator=generator, dtype=torch.float64) for b in sizes[1:]
        )

    def layer(self, k: int, x: torch.Tensor) -> torch.Tensor:
        """Pre-activations of one layer."""
        weight, bias = self.weights[k], self.biases[k]
        return 1.5 * x @ weight.T / weight.shape[1] ** 0.5 + 0.3 * bias

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Activations of the last hidden layer."""
        return torch.erf(self.layer(1, torch.erf(self.layer(0, x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(2, self.features(x))


def save(figure: plt.Figure, name: str) -> None:
    """Write a figure."""
    figure.savefig(FOLDER / f"{name}.png")
    plt.close(figure)


# %%
# 1. A wide network at random is a Gaussian process
# -------------------------------------------------
# Over random weights, outputs of an infinitely wide network are Gaussian with a covariance K(x, x') that follows
# layer by layer from :math:`K^{l+1}(x, x') = \sigma_w^2\, E[\phi(u)\phi(v)] + \sigma_b^2`, with u, v Gaussian of
# covariance :math:`K^l`: :func:`clntk.infinite_nngp`.

spec = clntk.InfiniteSpec.fully_connected(depth=2, activation="erf", sigma_w=1.5, sigma_b=0.3)
grid = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
nngp = clntk.infinite_nngp(spec, grid)
WIDTHS = (16, 64, 256, 1024)
errors = []
for width in WIDTHS:  # over read-outs alone, a network's outputs have the covariance of its features
    off = []
    for _ in range(20):
        with torch.no_grad():
            phi = Network(width).features(grid)
        off.append(float((1.5**2 * phi @ phi.T / width + 0.3**2 - nngp).norm() / nngp.norm()))
    errors.append(np.mean(off))
slope = np.polyfit(np.log(WIDTHS), np.log(errors), 1)[0]
print(
    f"covariance of networks of widths {WIDTHS}: off by {np.round(errors, 3)}, slope {slope:.2f} (theory -0.5)"
)

# %%
# Bayesian regression with the infinite network is regression with that process: :func:`clntk.gp_posterior`.

x = torch.tensor([[-1.5], [-0.4], [0.3], [1.2]], dtype=torch.float64)
y = torch.tensor([[-0.8], [0.4], [0.9], [-0.3]], dtype=torch.float64)
posterior = clntk.gp_posterior(
    clntk.infinite_nngp(spec, x), y, test_kernel=clntk.infinite_nngp(spec, grid, x), prior=nngp, noise=1e-4
)

# %%
# 2. Gradient descent in function space: the tangent kernel
# ----------------------------------------------------------
# Under gradient flow on ½‖f − y‖², outputs move by the tangent kernel Θ(x, x') = ⟨∂f(x)/∂θ, ∂f(x')/∂θ⟩. In a wide
# network it does not move: :func:`clntk.infinite_ntk`, and :func:`clntk.empirical_ntk` of any network at hand. Then
#
# .. math:: f_t(x) = f_0(x) + \Theta(x, X)\,\Theta^{-1} (1 - e^{-\Theta t}) (y - f_0(X))
#
# computed by :func:`clntk.kernel_dynamics`.

ntk, cross = clntk.infinite_ntk(spec, x), clntk.infinite_ntk(spec, grid, x)
for width in (32, 512):
    draws = [clntk.empirical_ntk(Network(width), x) for _ in range(10)]
    off = np.mean([float((k - ntk[:, None, :, None]).norm() / ntk.norm()) for k in draws])
    print(f"width {width}: tangent kernel off by {off:.3f}, mean of ten networks")

TIMES = (0.1, 1.0, 10.0, 100.0)
ensemble = clntk.ensemble_dynamics(
    ntk,
    clntk.infinite_nngp(spec, x),
    y,
    clntk.GradientFlow(TIMES),
    test_ntk=cross,
    test_nngp=clntk.infinite_nngp(spec, grid, x),
    prior=nngp,
)


def descend(model: nn.Module, steps: int, lr: float, x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """Full-batch gradient descent on ½‖f − y‖²."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (model(x) - y).square().sum()).backward()
        optimizer.step()
    return model


LR, STEPS = 0.02, 500  # time 10
wide = Network(1024)
with torch.no_grad():
    start, start_on_grid = wide(x), wide(grid)
own = clntk.kernel_dynamics(
    clntk.empirical_ntk(wide, x),
    y,
    clntk.GradientDescent(STEPS, LR),
    start=start,
    test_kernel=clntk.empirical_ntk(wide, grid, x),
    test_start=start_on_grid,
)
linear = descend(clntk.linearize(wide), STEPS, LR, x, y)
with torch.no_grad():
    linear_on_grid = linear(grid)
descend(wide, STEPS, LR, x, y)
with torch.no_grad():
    moved = (wide(grid) - start_on_grid).norm()
    gap = float((wide(grid) - torch.from_numpy(own.test[0])).norm() / moved)
    exact = float((linear_on_grid - torch.from_numpy(own.test[0])).norm() / moved)
print(f"after {STEPS} steps: closed form off by {gap:.4f} for the network, {exact:.1e} for its linearisation")

with house_style():
    figure, (left, middle, right) = panels(3, height=2.6)
    left.loglog(WIDTHS, errors, "o-")
    left.loglog(WIDTHS, [errors[0] * (WIDTHS[0] / w) ** 0.5 for w in WIDTHS], "--", color="0.4")
    left.set(xlabel="Width", ylabel="Covariance error", title="A network is a process")
    for axis, found, title in ((middle, posterior, "Posterior"), (right, ensemble, "Trained, t = 100")):
        mean = np.atleast_3d(found.mean)[..., -1] if found.mean.ndim == 2 else found.mean[-1]
        spread = np.sqrt(np.diagonal(found.covariance, axis1=-2, axis2=-1).reshape(-1, len(grid))[-1].clip(0))
        line = mean.reshape(-1, len(grid))[-1]
        axis.fill_between(grid[:, 0], line - 2 * spread, line + 2 * spread, alpha=0.2, linewidth=0)
        axis.plot(grid[:, 0], line)
        axis.plot(x, y, "o", color="0.2", markersize=4)
        axis.set(xlabel="x", title=title)
    save(figure, "1_processes_and_kernels")

# %%
# 3. Lazy or rich: the output scale
# ---------------------------------
# Training f = α (g − g₀) with a learning rate divided by α² moves outputs alike and weights by 1/α (Chizat et al.
# 2019): a large α is lazy. A protocol says so with the regime ``output_scale``.

runs = clntk.run("smoke", ["seeds=1", "strategy.epochs=10"], store=FOLDER / "runs")
table = clntk.compare_regimes(runs, ["relative_weight_change", "kernel_distance"])
print(table[["measure", "regime", "estimate"]].to_string(index=False))

# %%
# 4. More parameters than examples: double descent
# ------------------------------------------------
# The minimum-norm read-out of random features fits its N examples once there are N features. There its test error
# peaks, and beyond it falls again (Belkin et al. 2019): protocol ``double_descent_features``.

sweep = ["seeds=1", "sweep={stream.label_noise: [0.1], model.width: [40, 150, 250, 300, 360, 600, 2400]}"]
features = clntk.run("double_descent_features", sweep, store=FOLDER / "runs")
descent = features.scalars(["average_accuracy"]).sort_values("model.width")
error = 1 - descent["value"].to_numpy()
widths = descent["model.width"].to_numpy()
print(f"test error is highest at {widths[error.argmax()]} features, with 300 examples")

# %%
# 5. Task after task: forgetting from kernels alone
# -------------------------------------------------
# With a fixed kernel the same formula, applied task after task, gives all outputs after each task, and so
# forgetting, in closed form: :func:`clntk.continual_regression`; with the gradients of old examples projected
# out, that of OGD. A network that is linear in its weights does just that.

tasks = [(x, y), (x + 0.3, -y)]
network = Network(256)
kernel = clntk.empirical_ntk(network, torch.cat([t[0] for t in tasks]))
with torch.no_grad():
    starts = [network(t[0]) for t in tasks]
schedule = clntk.GradientDescent(STEPS, 0.02)
predicted = clntk.continual_regression(kernel, [t[1] for t in tasks], schedule, start=starts).train
protected = clntk.continual_regression(
    kernel, [t[1] for t in tasks], schedule, start=starts, stored=clntk.StoredGradients(), singular="keep"
).train
copies = {"linearised": clntk.linearize(network), "network": network}
measured = {}
for name, model in copies.items():
    losses = []
    for inputs, targets in tasks:
        descend(model, STEPS, 0.02, inputs, targets)
        with torch.no_grad():
            losses.append(float(0.5 * (model(x) - y).square().sum(1).mean()))
    measured[name] = losses[1] - losses[0]
forgetting = {
    "predicted": predicted.forgetting[1, 0],
    **measured,
    "predicted, OGD": protected.forgetting[1, 0],
}
for name, value in forgetting.items():
    print(f"forgetting, {name}: {value:.5f}")

# %%
# Of stored runs, :func:`clntk.predict_forgetting` (analysis ``closed_form_forgetting``) sets the prediction beside what
# networks did. Where the two part, features move: rich learning begins.

forecast = clntk.predict_forgetting(runs, examples=200)
last = forecast[forecast["kernel"] == "init"].groupby("regime")["departure"].last()
print("departure from the first kernel:", ", ".join(f"{k} {v:.3f}" for k, v in last.items()))

# %%
# 6. What continual learning may add: units of single tasks
# ---------------------------------------------------------
# The claim of the notes is that rich networks find compressed codes with units of single tasks, and that these protect.
# Tuning is called against a permutation null: :func:`clntk.task_tuning`. That units are tuned does not show that they
# protect: ``clntk analyze claim RUNS`` asks for lesions, kernels and retention too, beside the controls.

rng = np.random.default_rng(0)
labels = np.repeat([0, 1], 100)
noise = np.abs(rng.normal(size=(200, 20)))
localist = noise + 2.0 * (labels[:, None] == np.arange(20) % 2)
calls = {}
for name, code in (("localist", localist), ("distributed", noise)):
    units = clntk.task_tuning(code, labels)
    calls[name] = float(units.tuned.mean())
    print(f"{name} code: {calls[name]:.2f} of units tuned, selectivity {float(units.selectivity.mean()):.2f}")

with house_style():
    figure, (left, middle, right) = panels(3, height=2.6)
    left.semilogx(widths, error, "o-")
    left.axvline(300, **GUIDE)
    left.set(xlabel="Random features", ylabel="Test error", title="Double descent")
    middle.bar(range(4), list(forgetting.values()), color=["0.6", "C0", "C1", "0.6"])
    middle.set_xticks(range(4), [name.replace(", ", "\n") for name in forgetting], rotation=30, fontsize=7)
    middle.set(ylabel="Forgetting", title="From kernels alone")
    right.bar(range(2), list(calls.values()), color=["C0", "C1"])
    right.set_xticks(range(2), list(calls))
    right.set(ylabel="Units called tuned", title="Against the null")
    save(figure, "2_tasks_in_sequence")
print(f"figures in {FOLDER}")
