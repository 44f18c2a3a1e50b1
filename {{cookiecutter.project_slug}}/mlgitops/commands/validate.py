"""Judges a proposal by main's rules: `make validate` here, `validate` on GitHub.

python -m mlgitops validate            the workflow: the event says which pull request
python -m mlgitops validate --local    what is in build/, printed; exit 1 if blocked
python -m mlgitops validate --preview  the same for a job's summary; never fails
"""

import argparse

from mlgitops import github
from mlgitops.judge import local, workflow
from mlgitops.judge.gates import Refused
from mlgitops.judge.verdict import ERRORS


def main() -> None:
    """Choose the way; an ordinary failure is one sentence."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--local", action="store_true", help="judge build/")
    parser.add_argument("--preview", action="store_true", help="judge, never fail")
    wanted = parser.parse_args()
    if not (wanted.local or wanted.preview):
        return workflow.run()
    try:
        passed = local.run()
    except (Refused, *ERRORS) as error:
        if not wanted.preview:
            raise SystemExit(str(error)) from error
        return github.summary(f"No preview: {error}")
    raise SystemExit(0 if passed or wanted.preview else 1)
