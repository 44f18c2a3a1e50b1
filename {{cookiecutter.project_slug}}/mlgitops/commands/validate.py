"""Judges a proposal with main's rules: `make validate` here, `validate` on GitHub.

python -m mlgitops validate            in the workflow; the event names the pull request
python -m mlgitops validate --local    judge build/ and print; exit 1 if blocked
python -m mlgitops validate --preview  judge build/ for a job's summary; never fails
"""

import argparse

from mlgitops import github
from mlgitops.judge import local, workflow
from mlgitops.judge.verdict import ERRORS
from mlgitops.judgement import Refused


def main() -> None:
    """Judge a pull request, or build/; a failure is one sentence."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--local", action="store_true", help="judge build/")
    parser.add_argument("--preview", action="store_true", help="judge, never fail")
    options = parser.parse_args()
    if not (options.local or options.preview):
        try:
            return workflow.run()
        except ERRORS as error:
            raise github.fail(str(error)) from error
    try:
        passed = local.run()
    except (Refused, *ERRORS) as error:
        if not options.preview:
            raise SystemExit(str(error)) from error
        return github.summary(f"No preview: {error}")
    raise SystemExit(0 if passed or options.preview else 1)
