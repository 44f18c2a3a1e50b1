"""What differs between the tasks for the judge; nothing else asks which task it is.

The task itself is in `mlgitops.pipeline.task`, its metrics in `mlgitops.metrics`.
"""

from mlgitops.judge.tasks.base import Price, Rate, Reference, Task
from mlgitops.judge.tasks.binary import Binary
from mlgitops.judge.tasks.multiclass import Multiclass
from mlgitops.judge.tasks.regression import Regression

__all__ = ["TASKS", "Price", "Rate", "Reference", "Task"]

TASKS: dict[str, Task] = {
    task.name: task for task in (Binary(), Multiclass(), Regression())
}
