"""What a verdict names beside its numbers: changes of the judge, costs, evidence."""

import json
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from machinery import judged
from mlgitops import report, settings
from mlgitops.judge import cautions, identity, workflow
from mlgitops.judge.artifact import BuildRecord
from mlgitops.judge.verdict import Case
from mlgitops.judgement import Refused

JUDGING = [
    "mlgitops/judge/gates.py",
    "mlgitops/report/render.py",
    ".github/workflows/train.yml",
    "mlgitops/metrics/binary.py",
    "mlgitops/pipeline/data.py",
    "mlgitops/pipeline/prepare.py",
    "mlgitops/pipeline/train.py",
    "mlgitops/pipeline/parity.py",
    "mlgitops/pipeline/contract.py",
    "mlgitops/pipeline/fitting.py",
    "mlgitops/SHA256SUMS",
    "model/metrics.py",
    "model/prepare.py",
    "contract.yaml",
    "behaviour.yaml",
    "CODEOWNERS",
    ".dvc/config",
    "dvc.yaml",
    "requirements/pipeline.txt",
    "mlgitops/serving/verify.py",
]
OTHERS = [
    "README.md",
    "model/estimator.py",
    "model/features.py",
    "tests/test_x.py",
]


@pytest.mark.parametrize("path", JUDGING)
def test_a_change_of_what_judges_is_named(path: str) -> None:
    assert cautions.judge_changes([path, *OTHERS]) == [path]
    project = Path.cwd()
    assert (project / path).exists(), "a file that is there"


@pytest.mark.parametrize("path", sorted(Path("model").glob("*.py")), ids=str)
def test_every_file_of_the_model_is_named_for_what_it_does(path: Path) -> None:
    """Code that trains judges nothing, but decides which rows are learnt from."""
    names = [str(path)]
    (training,) = cautions.training_changed(names) or [""]
    assert bool(training) is not bool(cautions.judge_changes(names))
    assert ("changes the code that trains" in training) is (
        path.name in ("estimator.py", "features.py")
    )


@pytest.mark.parametrize("path", [*JUDGING, "params.yaml", "signing.pub"])
def test_what_judges_has_an_owner(path: str) -> None:
    """As the report says of each change of it; of the rest a project decides."""
    text = (Path.cwd() / "CODEOWNERS").read_text()
    owned = [line.split()[0].lstrip("/") for line in text.splitlines()[1:]]

    def held(name: str) -> bool:
        top = name.split("/")[0]
        return name in owned or any(fnmatch(top, o.rstrip("/")) for o in owned)

    assert held(path) and not any(map(held, OTHERS))


@pytest.mark.parametrize(
    "section", ["gates", "prepare", "evaluate", "business", "fairness", "override"]
)
def test_a_change_of_a_rule_in_params_is_named(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = judged.params(["price"])
    Path("params.yaml").write_text(yaml.safe_dump(ours))
    changed = yaml.safe_dump({**ours, section: {"open": True}}).encode()
    assert cautions.settings_changed(changed) == [f"params.yaml: {section}"]
    without = {k: v for k, v in ours.items() if k != section}
    gone = yaml.safe_dump(without).encode()
    assert cautions.settings_changed(gone) == [f"params.yaml: {section}"]
    other = yaml.safe_dump({**ours, "train": {}, "monitor": {}}).encode()
    assert cautions.settings_changed(other) == []
    assert cautions.settings_changed(changed, changed) == [], "of the same base"
    for broken in (b"a: [", b"- a", b"7", b"", None, b"\xff"):
        assert f"params.yaml: {section}" in cautions.settings_changed(broken)


def built(restored: bool, seconds: float) -> BuildRecord:
    """Return what build.json says of a run."""
    return BuildRecord(
        schema=1,
        pull_request=1,
        head_sha="",
        base_sha="",
        merge_sha="",
        built_lock_sha256="",
        restored=restored,
        stages_run=[] if restored else ["train"],
        seconds=seconds,
        cpu="",
    )


PRICE = {"compute": {"price_per_minute": 0.5, "currency": "euros"}}


@pytest.mark.parametrize(
    ("restored", "before", "params", "found"),
    [
        (False, 0.0, PRICE, ["0.7500 euros", "<code>90</code>"]),
        (False, 0.0, {}, ["no section compute"]),
        (True, 600.0, PRICE, ["5.7500 euros", "600 to build it, then 90 to restore"]),
        (True, 600.0, {}, ["no section compute", "600 to build it"]),
        (True, None, PRICE, ["not known: the ledger has no record of the run"]),
    ],
    ids=["built", "built unpriced", "restored", "restored unpriced", "not recorded"],
)
def test_what_a_build_cost_is_its_minutes_times_mains_price(
    restored: bool, before: float | None, params: settings.Params, found: list[str]
) -> None:
    """Of the run that built it, too, where this one only restored it."""
    compute = settings.compute(params)
    build = workflow.build_cost(built(restored, 90), before, compute)
    text = report.render(report.Facts(state="ready", verdict="v", build=build))
    assert all(words in text for words in found), text


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        ([], None),
        ([("other", {"seconds": 5.0, "restored": False})], None),
        ([("lock", None)], None),
        (
            [
                ("lock", {"seconds": 600.0, "restored": False}),
                ("other", {"seconds": 7.0, "restored": False}),
                ("lock", {"seconds": 9.0, "restored": True}),
            ],
            600.0,
        ),
    ],
    ids=["first", "other", "before it was recorded", "restored twice"],
)
def test_the_ledger_tells_what_the_run_that_built_a_lock_took(
    records: list[tuple[str, object]], seconds: float | None
) -> None:
    judged = [{"lock_sha256": lock, "build": build} for lock, build in records]
    ledger = SimpleNamespace(judged=lambda newest_first, having: judged[::-1])
    case = SimpleNamespace(ledger=ledger, built=SimpleNamespace(sha256="lock"))
    assert workflow.built_before(cast(Case, case)) == seconds


GOOD = {"rows": 10, "max_difference": 1e-7}


@pytest.mark.parametrize(
    "parity",
    [
        None,
        {},
        {"rows": 10},
        {**GOOD, "max_difference": "0"},
        {**GOOD, "max_difference": -1},
        {**GOOD, "max_difference": 10**400},
        {**GOOD, "rows": -1},
    ],
)
def test_a_manifest_without_a_sound_parity_is_refused(parity: Any) -> None:
    words = ("sha256", "train_sha256", "train_from", "train_until")
    trained_on = {**dict.fromkeys(words, "x"), "train_rows": 1}
    manifest = {"data": trained_on, "code": {"files": {}}, "claimed": {"parity": GOOD}}
    identity.check_types(manifest)
    with pytest.raises(Refused, match="no parity") as refused:
        bad = {**manifest, "claimed": {"parity": parity}}
        identity.check_types(json.loads(json.dumps(bad)))
    assert refused.value.check.id == "parity"


@pytest.mark.parametrize("deps", ["[7]", "7", "[{md5: x}]", "[{path: [a]}]"])
def test_a_lock_whose_dependencies_are_no_files_is_refused(deps: str) -> None:
    """In one sentence: it is a stranger's, and was parsed only for its outputs."""
    text = f"stages:\n  prepare:\n    deps: {deps}\n"
    with pytest.raises(Refused, match=r"dvc\.lock") as refused:
        identity.raw_data(text.encode(), {})
    assert refused.value.check.id == "lock"
