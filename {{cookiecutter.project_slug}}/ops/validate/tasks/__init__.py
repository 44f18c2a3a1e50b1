"""What the judge asks of each task, looked up by its parts: none asks which task it is.

What a task is stands in `pipeline.task`, its measures in `pipeline.metrics`.
"""

from ops.validate.tasks.base import Pair, Price, Rate, Task
from ops.validate.tasks.binary import Binary
from ops.validate.tasks.multiclass import Multiclass
from ops.validate.tasks.regression import Regression

__all__ = ["TASKS", "Pair", "Price", "Rate", "Task"]

TASKS: dict[str, Task] = {
    task.name: task for task in (Binary(), Multiclass(), Regression())
}
