"""Writes benchmarks/push.md: steps and minutes from a push to a merge: `make minutes`.

The minutes are those that the last `make demo` wrote into .demo/summary.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STEPS = {"first model": "first deploy", "better model": ""}  # proposed; deployed
ROUNDS = 2  # of CI, before: pending until CI's lock was adopted, then judged again
TEXT = """\
# From push to merge

Written by `make minutes` from what the last `make demo` noted: the real workflows, by
act, on one machine. On GitHub a job also waits for a runner and installs its packages.

| | before | now |
|---|---|---|
| typed | `make repro`, `git add dvc.lock`, `git commit`, `make push`, `git push`, \
`gh pr create`; after the first round `make adopt PR=7` | `git commit`, `git push`, \
`gh pr create`; `make push` where data are new |
| trained on a laptop | yes | no |
| rounds of CI | 2, where a byte of the committed `dvc.lock` was not CI's: nearly \
always, as processors differ in the last digits | 1 |
| read | "pending", then the report | the report |

Minutes:

| proposal | before: push to verdict | now: push to verdict | approved to merged | \
merged to production's first prediction |
|---|---|---|---|---|
"""
NOTE = """
"Before" is computed: two of the same rounds, without the training on a laptop, as the
code of `make adopt` is gone. A merge waits for `ci`, the team's tests, which run beside
`train` and `validate`; production comes after staging and its approval, which the demo
gives at once.
"""


def page(summary: dict[str, Any]) -> str:
    """Return the page of a play's summary.

    Raises:
        SystemExit: it stopped, or has no time of a proposal.
    """
    if not summary["ok"]:
        raise SystemExit("the last play stopped: type make demo, then make minutes")
    facts = {step["name"]: step["facts"] for step in summary["steps"]}
    rows = []
    for proposed, deployed in STEPS.items():
        after = facts.get(deployed, {})
        seconds = facts.get(proposed, {}).get("seconds_from_push")
        if seconds is None:
            raise SystemExit(
                f"the {proposed} was not timed: type make demo, then make minutes"
            )
        waits = (after.get("seconds_to_merge"), after.get("seconds_from_merge"))
        cells = [ROUNDS * seconds, seconds, *waits]
        rows.append(f"| {proposed} |{'|'.join(map(_minutes, cells))}|\n")
    machine = "\nOn {cores} cores at a load of {load}.\n"
    return TEXT + "".join(rows) + machine.format(**summary["machine"]) + NOTE


def _minutes(seconds: float | None) -> str:
    """Return a cell of the table."""
    return " " if seconds is None else f" {seconds / 60:.1f} "


if __name__ == "__main__":
    played = Path(sys.argv[1])
    if not played.exists():
        raise SystemExit(f"{played} is missing: type make demo first")
    text = page(json.loads(played.read_text(encoding="utf-8")))
    (ROOT / "benchmarks" / "push.md").write_text(text, encoding="utf-8")
    print(text, end="")
