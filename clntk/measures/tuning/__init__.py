"""Unit tuning: which tasks a hidden unit responds to.

Two codes are looked at, and each index says which one it is of:

- the *rectified* activation max(a, 0), for whatever speaks of a response: selectivity, preferred task, d′,
  sparseness and the exact-zero classes. A unit is *active* on an example if a > 0. For ReLU this is the
  activation itself; the negative side of tanh or linear units counts as silence, and a unit that is never
  positive counts as dead *on the rectified code*;
- the *raw* activation, for whatever needs no zero: means, mutual information, task variance and the
  correlation with outputs.

Tasks of very unequal size are compared by their means and variances, so that each counts the same however many
examples it has; only mutual information and sparseness, which are defined over examples, count examples.
"""

from clntk.measures.tuning.plain import task_tuning
from clntk.measures.tuning.recorded import task_variance, unit_tuning

__all__ = ["task_tuning", "task_variance", "unit_tuning"]
