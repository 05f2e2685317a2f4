"""The names of dimensions and coordinates: the same in YAML, facts, tables and figure labels."""

RUN = "run"
REGIME = "regime"
SEED = "seed"
CONDITION = "condition"  # the regime, and the sweep point where there is a sweep: what figures tell apart
CHECKPOINT = "checkpoint"  # a labelled moment of a run: "init", then one per training phase
STEP = "step"  # optimizer steps taken up to a checkpoint
TASK = "task"  # the task trained
EVAL_TASK = "eval_task"  # the task looked at
OTHER_TASK = "other_task"  # the second task of a pair
PROBE = "probe"  # an example of a task's fixed probe set
OTHER_PROBE = "other_probe"
OUTPUT = "output"  # a logit
LAYER = "layer"
UNIT = "unit"
PARAM = "param"

INIT = "init"  # the label of the checkpoint before any training

LABELS = {
    RUN: "Run",
    REGIME: "Regime",
    SEED: "Seed",
    CHECKPOINT: "After training on",
    STEP: "Optimizer step",
    TASK: "Task trained",
    EVAL_TASK: "Task",
    OTHER_TASK: "Other task",
    UNIT: "Hidden unit",
    LAYER: "Layer",
    PARAM: "Parameter",
}
