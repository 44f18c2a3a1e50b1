"""What the judge asks of each task, looked up by its parts: none asks which task it is.

What a task is stands in `mlgitops.pipeline.task`, its measures in `mlgitops.metrics`.
"""

from mlgitops.judge.tasks.base import Pair, Price, Rate, Task
from mlgitops.judge.tasks.binary import Binary
from mlgitops.judge.tasks.multiclass import Multiclass
from mlgitops.judge.tasks.regression import Regression

__all__ = ["TASKS", "Pair", "Price", "Rate", "Task"]

TASKS: dict[str, Task] = {
    task.name: task for task in (Binary(), Multiclass(), Regression())
}
