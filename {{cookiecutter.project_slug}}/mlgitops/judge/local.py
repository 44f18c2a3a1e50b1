"""The same judge on a laptop: build/ by the working tree's rules, no GitHub needed."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import github, lock, report, settings
from mlgitops.judge import identity, verdict
from mlgitops.judge.verdict import Case, Unsound
from mlgitops.ledger import Ledger
from mlgitops.report import page


def run() -> bool:
    """Judge the working tree's build/ by its own rules."""
    settings.check(settings.load(Path("params.yaml").read_bytes()), verdict.contract())
    built = lock.read()
    if built is None:
        raise Unsound("there is no model in build/ yet: run `make repro` first")
    if lacking := [out.path for out in built.outs if not Path(out.path).is_file()]:
        raise Unsound(f"{lacking[0]} is missing: run `make repro` first")
    with TemporaryDirectory(prefix="validate-") as name:
        case = Case(Path(name), built, _read, lock.pointers(), Ledger())
        case.challenger.mkdir()
        for out in built.outs:
            shutil.copyfile(out.path, case.challenger / out.name)
        for beside in ("dvc.lock", "contract.yaml"):
            shutil.copyfile(beside, case.challenger / beside)
        raw = identity.raw_data(Path("dvc.lock").read_bytes(), lock.pointers())
        case.raw = Path(raw.path)
        if not case.raw.is_file():
            raise Unsound(f"{case.raw} is missing: run `make pull` first")
        verdict.consider(case)
        facts = verdict.facts(case, "here" if case.passed else "blocked")
        facts.verdict += (
            " By the rules of this working tree; in a pull request main's decide."
        )
        body = report.render(facts)
    Path("build", "report.md").write_text(body + "\n", encoding="utf-8")
    if "GITHUB_STEP_SUMMARY" in os.environ:
        github.summary(body)
    else:
        print(report.plain(body))
    print(f"\nwith plots, in a browser: {page.write(facts)}")
    return case.passed


def _read(path: str) -> bytes | None:
    """Read a file of the working tree."""
    return Path(path).read_bytes() if Path(path).is_file() else None
