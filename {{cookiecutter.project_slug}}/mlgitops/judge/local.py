"""The same judge on a laptop: build/ by the working tree's rules, no GitHub needed."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import github, lock, report, settings
from mlgitops.judge import artifact, identity, verdict
from mlgitops.judge.verdict import Case, ValidationError
from mlgitops.ledger import Ledger
from mlgitops.report import page

FIRST = "run `make repro` first"


def run() -> bool:
    """Judge the working tree's build/ by its own rules; return whether it passed."""
    settings.check(settings.load(Path("params.yaml").read_bytes()), verdict.contract())
    built, pointers = lock.read(), lock.pointers()
    if built is None:
        raise ValidationError(f"there is no model in build/ yet: {FIRST}")
    names = {Path(out.path).name for out in built.outs}
    if lacking := sorted(artifact.OUTS - names):
        problem = f"no stage has written {', '.join(lacking)} since the last change"
        raise ValidationError(f"{problem}, or one failed: {FIRST}")
    for out in built.outs:
        if not Path(out.path).is_file():
            raise ValidationError(f"{out.path} is missing: {FIRST}")
    with TemporaryDirectory(prefix="validate-") as name:
        case = Case(Path(name), built, read_file, pointers, Ledger())
        case.challenger.mkdir()
        for path in ("dvc.lock", "contract.yaml", *(out.path for out in built.outs)):
            shutil.copyfile(path, case.challenger / Path(path).name)
        raw = identity.raw_data(Path("dvc.lock").read_bytes(), pointers)
        case.raw = Path(raw.path)
        if not case.raw.is_file():
            raise ValidationError(f"{case.raw} is missing: run `make pull` first")
        verdict.consider(case)
        facts = verdict.facts(case, "here" if case.passed else "blocked")
        facts.verdict += (
            " These are the rules of this working tree; "
            "those of main judge a pull request."
        )
        body = report.render(facts)
    Path("build", "report.md").write_text(body + "\n", encoding="utf-8")
    if "GITHUB_STEP_SUMMARY" in os.environ:
        github.summary(body)
    else:
        print(report.plain(body))
    print(f"\nwith plots, in a browser: {page.write(facts)}")
    return case.passed


def read_file(path: str) -> bytes | None:
    """Read a file of the working tree."""
    return Path(path).read_bytes() if Path(path).is_file() else None
