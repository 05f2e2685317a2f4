"""A task stream as a real Avalanche benchmark: the only place that builds one."""

import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from avalanche.benchmarks.scenarios import CLScenario
from avalanche.benchmarks.utils import TaskAwareSupervisedClassificationDataset
from avalanche.benchmarks.utils.data_attribute import DataAttribute, TaskLabels
from torch import Tensor
from torch.utils.data import TensorDataset

from clntk.streams.base import Split, TaskStream


class TensorTask(TensorDataset):
    """A tensor dataset whose class labels come as integers, as Avalanche's strategies expect."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x, (y.item() if y.dtype == torch.long else y)


def avalanche_dataset(split: Split, task_labels: Tensor) -> TaskAwareSupervisedClassificationDataset:
    """A split as the task-aware dataset class, which every working Avalanche strategy accepts."""
    targets = split.y.tolist() if split.y.dtype == torch.long else [tuple(row) for row in split.y.tolist()]
    return TaskAwareSupervisedClassificationDataset(
        [TensorTask(split.x, split.y)],
        data_attributes=[
            DataAttribute(targets, "targets"),
            TaskLabels(task_labels.tolist()),
        ],
    )


def avalanche_benchmark(stream: TaskStream) -> CLScenario:
    """One train experience for each phase, one test experience for each task, with task labels.

    Class streams also carry Avalanche's class timeline, as sorted lists: multi-head models index them, and
    Avalanche hands out sets.
    """
    train = [avalanche_dataset(*stream.phase_data(phase)) for phase in stream.phases]
    test = [
        avalanche_dataset(task.test, torch.full((len(task.test),), t)) for t, task in enumerate(stream.tasks)
    ]
    benchmark = with_task_labels(benchmark_from_datasets(train=train, test=test))
    if stream.target != "class":
        return benchmark
    benchmark = with_classes_timeline(benchmark)
    for experiences in benchmark.streams.values():
        for experience in experiences:
            for name in (
                "classes_in_this_experience",
                "previous_classes",
                "classes_seen_so_far",
                "future_classes",
            ):
                setattr(experience, name, sorted(getattr(experience, name)))
    return benchmark
