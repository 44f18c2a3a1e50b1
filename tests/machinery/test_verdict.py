"""What a verdict names beside its numbers: changes of the judge, costs, evidence."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import judged
from mlgitops import report, settings
from mlgitops.judge import cautions, identity, workflow
from mlgitops.judge.artifact import BuildRecord
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


def test_what_a_build_cost_is_its_minutes_times_mains_price() -> None:
    built = BuildRecord(
        schema=1,
        pull_request=1,
        head_sha="",
        base_sha="",
        merge_sha="",
        committed_lock_sha256=None,
        built_lock_sha256="",
        restored=False,
        stages_run=["train"],
        seconds=90,
        cpu="",
    )
    price = {"price_per_minute": 0.5, "currency": "euros"}
    for compute, words in (
        (settings.compute({"compute": price}), "0.7500 euros"),
        (None, "no section compute"),
    ):
        build = workflow.build_cost(built, compute)
        facts = report.Facts(state="ready", verdict="v", build=build)
        assert words in report.render(facts)


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
