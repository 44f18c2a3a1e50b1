"""Steps with facts: printed as they happen, written to summary.json at the end."""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Reference = dict[str, Any]


class PlayError(Exception):
    """An expectation does not hold; the message says what was observed."""


@dataclass
class Step:
    """One step: what was observed, and what the page shows of it."""

    name: str
    title: str
    ok: bool = False
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    refs: list[Reference] = field(default_factory=list)

    def note(self, **facts: Any) -> None:
        """Record what was observed, and print it."""
        self.facts.update(facts)
        for name, value in facts.items():
            say(f"      {name.replace('_', ' ')}: {_short(value)}")

    def show(self, kind: str, **reference: Any) -> None:
        """Show something on the page with this step."""
        self.refs.append({"kind": kind, **reference})


@dataclass
class Play:
    """Everything that happened so far."""

    folder: Path
    started: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Step]:
        """Play a step; a failure is recorded with its traceback and ends it all."""
        step = Step(name, title)
        self.steps.append(step)
        say(f"{len(self.steps):>4}  {title}")
        began = time.monotonic()
        try:
            yield step
            step.ok = True
        except Exception as error:
            step.text += f"\n\n**Failed.** {error}"
            with (self.folder / "failure.log").open("w") as log:
                traceback.print_exc(file=log)
            raise
        finally:
            step.seconds = round(time.monotonic() - began, 1)
            say(f"      {'done' if step.ok else 'FAILED'} in {step.seconds:.1f} s")

    @property
    def ok(self) -> bool:
        """Return whether every step passed."""
        return bool(self.steps) and all(step.ok for step in self.steps)

    def seconds(self, *names: str) -> float:
        """Return how long the steps of these names took, or all of them."""
        chosen = [s for s in self.steps if not names or s.name in names]
        return round(sum(step.seconds for step in chosen), 1)

    def write_summary(self) -> Path:
        """Write summary.json and return its path."""
        steps = [
            {"name": s.name, "ok": s.ok, "seconds": s.seconds, "facts": s.facts}
            for s in self.steps
        ]
        load = round(os.getloadavg()[2], 1)  # of a quarter of an hour
        body = {
            "ok": self.ok,
            "seconds": self.seconds(),
            "machine": {"cores": os.cpu_count(), "load": load},
            "steps": steps,
        }
        path = self.folder / "summary.json"
        path.write_text(json.dumps(body, indent=2, default=str) + "\n")
        return path


def expect(holds: bool, sentence: str) -> None:
    """Stop the rehearsal when an expectation does not hold."""
    if not holds:
        raise PlayError(sentence)


def say(line: str) -> None:
    """Show progress at once."""
    print(line, file=sys.stdout, flush=True)


def _short(value: Any) -> str:
    """Return a value on one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= 110 else text[:107] + "..."
