"""The primary metric in production over time, small enough for a row of the fleet."""

from mlgitops.fleet.model import Model
from mlgitops.report import plots

SHOWN = 60  # runs of the monitor that are drawn, the newest


def trend(model: Model) -> str:
    """Return a small plot beside its floor; nothing before two runs with labels."""
    runs = [run for run in model.history[-SHOWN:] if run.measured is not None]
    if len(runs) < 2:
        return ""
    values = [run.measured for run in runs if run.measured is not None]
    floors = [(float(n), run.floor) for n, run in enumerate(runs)]
    measured = [(float(n), run.measured) for n, run in enumerate(runs)]
    days = f"{runs[0].time[:10]} to {runs[-1].time[:10]}"
    words = (
        f"{model.metric} in production, {len(runs)} runs, {days}: first "
        f"{values[0]:.4g}, lowest {min(values):.4g}, highest {max(values):.4g}, "
        f"newest {values[-1]:.4g}"
    )
    if runs[-1].floor is not None:
        words += f"; floor {runs[-1].floor:.4g}"
    drawn = [plots.Line("floor", floors, "limit"), plots.Line("", measured, "main")]
    return plots.small(words, drawn)
