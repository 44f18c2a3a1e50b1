"""A manifest is what the proposal's own files give, or it is refused by the entry."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from machinery.judged import CONTRACT, Record, params, rows
from machinery.test_validate import linear, lock_of, predicted
from mlgitops import lock
from mlgitops.judge import artifact, business, identity
from mlgitops.judge.rows import check_manifest
from mlgitops.judgement import Refused
from mlgitops.pipeline import golden, manifest, settings
from mlgitops.pipeline.contract import Contract, plain
from mlgitops.report.sections import decisions

TERMS = Contract.parse(CONTRACT)
Lie = Callable[[Record], object]


class Proposal:
    """The files of a proposal, and the artifact that a true build makes of them."""

    def __init__(self, folder: Path, chosen: float | None = None) -> None:
        """With a number, the build chose it as its threshold."""
        self.folder, settings_of = folder, params(["price"])
        claimed: Record = {"parity": {"rows": 10, "max_difference": 1e-7}}
        if chosen is not None:
            settings_of["train"]["threshold"] = "best"
            claimed["threshold"] = {"rows": 2500, "worth": 1234.5}
        recipe = settings.train(settings_of, "binary")
        if chosen is not None:
            recipe = replace(recipe, threshold=chosen)
        self.files = {path: path.encode() for path in manifest.CODE}
        self.files |= {
            "contract.yaml": yaml.safe_dump(CONTRACT, sort_keys=False).encode(),
            "params.yaml": yaml.safe_dump(settings_of).encode(),
            "requirements/pipeline.txt": b"numpy",
        }
        train = rows().head(3000)
        train.to_parquet(folder / "train.parquet")
        table = (folder / "train.parquet").read_bytes()
        model = linear({"price": 1.0})
        exported = model.SerializeToString()
        text = self.files["contract.yaml"]
        code = {path: manifest.sha256(self.files[path]) for path in manifest.CODE}
        train.attrs["source_sha256"] = "2" * 64
        self.text = manifest.manifest(
            TERMS,
            recipe,
            ("model.onnx", exported),
            contract={
                "sha256": manifest.sha256(text),
                "json_sha256": manifest.sha256(plain(yaml.safe_load(text))),
            },
            data=manifest.trained_on(train, TERMS, table),
            code=manifest.code(code),
            requirements={"sha256": manifest.sha256(b"numpy")},
            claimed=claimed,
            golden=predicted(model, golden.rows(train, TERMS), TERMS),
        )
        for name in artifact.OUTS - {"train.parquet"}:
            (folder / name).write_bytes(b"")
        (folder / "model.onnx").write_bytes(exported)
        (folder / "contract.yaml").write_bytes(text)

    def identify(self, text: str | None = None) -> Record:
        """Return the manifest once the judge believes it."""
        (self.folder / "manifest.json").write_text(text or self.text)
        outs = {name: (self.folder / name).read_bytes() for name in artifact.OUTS}
        built = lock.parse(lock_of(outs))
        return identity.identify(self.folder, built, self.files.get)

    def with_lie(self, lie: Lie) -> str:
        """Return the manifest's text with one lie."""
        version = json.loads(self.text)
        lie(version)
        return manifest.text(version)


@pytest.fixture
def proposal(tmp_path: Path) -> Proposal:
    return Proposal(tmp_path)


def other_code(version: Record) -> None:
    """Say that another estimator trained."""
    version["code"]["files"]["model/estimator.py"] = "3" * 64
    version["code"] = manifest.code(version["code"]["files"])


def less_code(version: Record) -> None:
    """Leave the estimator out."""
    del version["code"]["files"]["model/estimator.py"]
    version["code"] = manifest.code(version["code"]["files"])


LIES: dict[str, Lie] = {
    "threshold is 0.99": lambda v: v.update(threshold=0.99),
    "name is 'other'": lambda v: v.update(name="other"),
    "columns is": lambda v: v.update(columns=["age"]),
    "params.estimator is": lambda v: v["params"].update(estimator="none"),
    "code.sha256 is": lambda v: v["code"].update(sha256="0" * 64),
    "code.files.model/estimator.py is": other_code,
    "code.files.model/estimator.py is nothing": less_code,
    "requirements.sha256 is": lambda v: v["requirements"].update(sha256="0" * 64),
    "contract.json_sha256 is": lambda v: v["contract"].update(json_sha256="0" * 64),
    "data.train_sha256 is": lambda v: v["data"].update(train_sha256="0" * 64),
    "approved is true": lambda v: v.update(approved=True),
    "classes is": lambda v: v.update(classes=["a", "b"]),
    "does not say what was trained on": lambda v: v["data"].update(sure=True),
    "does not name the files of its code": lambda v: v["code"].pop("files"),
    "name the files": lambda v: v["code"]["files"].update({"../x.py": "0" * 64}),
}


def test_a_true_manifest_is_believed(proposal: Proposal) -> None:
    version = proposal.identify()
    check_manifest(proposal.folder, version)


@pytest.mark.parametrize("words", LIES)
def test_a_lie_is_refused_by_its_entry(words: str, proposal: Proposal) -> None:
    with pytest.raises(Refused) as refused:
        proposal.identify(proposal.with_lie(LIES[words]))
    assert refused.value.check.id == "manifest"
    assert words in str(refused.value)


def test_a_key_that_is_given_twice_is_refused(proposal: Proposal) -> None:
    """One reader would take the first value, another the last."""
    twice = proposal.text.replace('{\n  "', '{\n  "threshold": 0.99,\n  "', 1)
    with pytest.raises(Refused, match="'threshold' is given twice"):
        proposal.identify(twice)


def test_a_manifest_of_other_bytes_is_refused(proposal: Proposal) -> None:
    """There is one text for one version: 0.30 is not another 0.3."""
    with pytest.raises(Refused, match="not as the stage train writes it"):
        proposal.identify(
            proposal.text.replace('"threshold": 0.3', '"threshold": 0.30')
        )


@pytest.mark.parametrize("depth", [100, 400, 900])
def test_a_manifest_that_is_nested_deep_is_a_refusal(
    depth: int, proposal: Proposal
) -> None:
    deep = '"claimed": {"deep": ' + '{"a": ' * depth + "1" + "}" * depth + ","
    with pytest.raises(Refused) as refused:
        proposal.identify(proposal.text.replace('"claimed": {', deep))
    assert refused.value.check.id == "manifest"


def test_the_machinery_of_a_wheel_is_believed(proposal: Proposal) -> None:
    """It is not in the tree: requirements/pipeline.txt pins it."""
    for path in manifest.CODE:
        if path.startswith("mlgitops/"):
            del proposal.files[path]
    assert proposal.identify()


@pytest.mark.parametrize("value", ["2020-01-01", "yes: [", "{train: {threshold: 7}}"])
def test_params_that_cannot_be_read_are_a_refusal(
    value: str, proposal: Proposal
) -> None:
    proposal.files["params.yaml"] = value.encode()
    with pytest.raises(Refused) as refused:
        proposal.identify()
    assert refused.value.check.id == "manifest"


def test_params_that_no_manifest_can_hold_are_a_refusal(proposal: Proposal) -> None:
    text = yaml.safe_dump(params(["price"])).encode()
    proposal.files["params.yaml"] = text.replace(
        b"l2_regularization: 0.0", b"l2_regularization: 2020-01-01"
    )
    with pytest.raises(Refused, match="such as a date"):
        proposal.identify()


TABLES: dict[str, tuple[Lie, str]] = {
    "2099": (lambda v: v["data"].update(train_until="2099-01-01"), "train_until"),
    "no date": (lambda v: v["data"].update(train_until="not a date"), "train_until"),
    "too early": (lambda v: v["data"].update(train_from="1999-01-01"), "train_from"),
    "more rows": (lambda v: v["data"].update(train_rows=10**9), "train_rows"),
    "one golden row": (lambda v: v.update(golden=v["golden"][:1]), "golden"),
    "one row again": (lambda v: v.update(golden=v["golden"][:1] * 20), "golden"),
    "an own row": (lambda v: v["golden"][0]["row"].update(price=0.5), "golden"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_window_and_golden_rows_that_the_table_does_not_give_are_refused(
    name: str, proposal: Proposal
) -> None:
    lie, words = TABLES[name]
    version = proposal.identify(proposal.with_lie(lie))
    with pytest.raises(Refused, match=words) as refused:
        check_manifest(proposal.folder, version)
    assert refused.value.check.id == "manifest"


def test_a_table_without_the_contracts_columns_is_refused(proposal: Proposal) -> None:
    version: Any = proposal.identify()
    pd.DataFrame({"x": [1]}).to_parquet(proposal.folder / "train.parquet")
    with pytest.raises(Refused, match="the rows that contract"):
        check_manifest(proposal.folder, version)


def test_a_threshold_that_the_build_chose_is_the_manifests(tmp_path: Path) -> None:
    """The gates, the server and the golden rows have the number; who chose is told."""
    version = Proposal(tmp_path, 0.2137).identify()
    assert version["threshold"] == 0.2137
    assert version["params"]["threshold"] == "best"
    assert version["business"]["false_positive"] == -10


@pytest.mark.parametrize(
    "lie",
    [
        lambda version: version.update(threshold=0.0),
        lambda version: version.update(threshold=1.0),
        lambda version: version.update(threshold=1),
        lambda version: version["claimed"].pop("threshold"),
        lambda version: version["claimed"]["threshold"].update(rows=0),
        lambda version: version["claimed"]["threshold"].update(worth="1"),
        lambda version: version["claimed"]["threshold"].update(worth=1e300),
        lambda version: version["claimed"]["threshold"].update(more=1),
        lambda version: version["business"].update(false_positive=-1),
        lambda version: version.pop("business"),
    ],
)
def test_a_chosen_threshold_is_one_that_decides(lie: Lie, tmp_path: Path) -> None:
    proposal = Proposal(tmp_path, 0.2137)
    with pytest.raises(Refused) as refused:
        proposal.identify(proposal.with_lie(lie))
    assert refused.value.check.id == "manifest"


def test_worths_that_changed_since_the_choice_are_refused(tmp_path: Path) -> None:
    """As where dvc.yaml did not say that the stage reads them."""
    proposal = Proposal(tmp_path, 0.2137)
    other = proposal.files["params.yaml"].replace(
        b"false_positive: -10", b"false_positive: -3"
    )
    assert other != proposal.files["params.yaml"]
    proposal.files["params.yaml"] = other
    with pytest.raises(Refused, match=r"business.false_positive is -10"):
        proposal.identify()


def test_a_written_threshold_is_not_the_builds_to_choose(proposal: Proposal) -> None:
    """Whatever it claims of one."""
    facts = {"rows": 2500, "worth": 1.0}

    def lie(version: Record) -> None:
        version["threshold"] = 0.2137
        version["claimed"]["threshold"] = facts

    with pytest.raises(Refused, match="threshold is 0.2137"):
        proposal.identify(proposal.with_lie(lie))


def test_the_report_says_by_what_a_threshold_was_chosen(tmp_path: Path) -> None:
    """In the proposal's own words of worth; a claim alone is not shown."""
    version = Proposal(tmp_path, 0.2137).identify()
    found = business._chosen(version)
    assert found is not None
    sentence = decisions._chosen(found)
    assert "threshold 0.2137 was chosen by the build" in sentence
    assert "2,500 training rows" in sentence and "1,234 euros per 1,000" in sentence
    del version["business"]
    assert business._chosen(version) is None
