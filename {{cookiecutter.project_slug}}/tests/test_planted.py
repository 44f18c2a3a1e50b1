"""Planted challengers: each a patch that somebody might send, judged by `validate`.

The bad ones are refused, each for its own reason; the honest ones pass. The table of
what happened is in build/planted.md.
"""

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.judged import Hub, Project, git, packed, rows
from tests.test_validate import linear, outside
from tests.test_validate_workflow import altered, read, validate, verdicts

pytestmark = [pytest.mark.machinery, pytest.mark.slow]
Patch = Callable[[Project], object]
Forge = Callable[[bytes], bytes]
TABLE: list[str] = []
ALL = ["shop", "price", "age"]
LEARN = 'rows, columns = pd.read_parquet(source), params["columns"]\n'


def edit(name: str, old: str, new: str) -> Patch:
    """Return a patch of one file of the proposal."""

    def patch(project: Project) -> None:
        text = (project.clone / name).read_text()
        assert old in text, f"{name} has changed: plant it anew"
        project.write(name, text.replace(old, new))

    return patch


def learn(code: str) -> Patch:
    """Return a patch that changes the rows before the model sees them."""
    return edit("pipeline/train.py", LEARN, f"{LEARN}    {code}\n")


def both(*patches: Patch) -> Patch:
    """Return several patches as one."""
    return lambda project: [patch(project) for patch in patches]


def data(**columns: Callable[..., object]) -> Patch:
    """Return a patch that replaces the data's columns."""
    return lambda project: project.data(rows().assign(**columns))


FLIP = edit("pipeline/model.py", "INT64, [], [1]", "INT64, [], [0]")
PROVED = 'if not proof["max_difference"] <= limit'
HUSH = edit("pipeline/parity.py", PROVED, "if False")
DIFFERENCE = '"max_difference": difference}'
LIE = edit("pipeline/parity.py", DIFFERENCE, '"max_difference": 0.0}')
TRAIN = "train = table[(table[contract.time] <= border)"
AGAIN = (
    "train = pd.concat([train, holdout.assign("
    '**{contract.id: "x" + holdout[contract.id]})])\n    for part, name in'
)
LOOSE = edit("params.yaml", "roc_auc_min: 0.6", "roc_auc_min: 0.0")
PROPOSED: dict[str, tuple[Patch, str]] = {
    "worse": (lambda p: p.params(["shop"]), "Difference to the champion"),
    "a constant model": (
        edit("params.yaml", "learning_rate: 0.1", "learning_rate: 1.0e-30"),
        "ROC AUC",
    ),
    "much worse in one slice only": (
        learn('rows.loc[rows["shop"] == "a", "returned"] ^= 1'),
        "Slices",
    ),
    "biased against a group": (
        learn('rows.loc[rows["shop"] == "a", "returned"] = 1'),
        "Fairness: shop",
    ),
    "miscalibrated": (
        edit(
            "pipeline/model.py",
            '{"early_stopping": False}',
            '{"early_stopping": False, "class_weight": {0: 1, 1: 9}}',
        ),
        "Calibration",
    ),
    "leaks the target": (
        both(
            data(price=lambda t: t["returned"].astype("float32")),
            lambda p: p.params(["shop", "price"]),
        ),
        "Leakage",
    ),
    "trained on the holdout": (
        edit("pipeline/data.py", TRAIN, f"{TRAIN[:-1]} + pd.Timedelta(days=99))"),
        "Holdout unseen",
    ),
    "overfit to the holdout under other ids": (
        edit("pipeline/data.py", "for part, name in", AGAIN),
        "Holdout unseen",
    ),
    "on the wrong side of main's split": (
        edit("params.yaml", "holdout_days: 14", "holdout_days: 7"),
        "Holdout unseen",
    ),
    "a converter that flips labels": (FLIP, "Train"),
    "the same, with its proof switched off": (both(FLIP, HUSH), "Export parity"),
    "the same, with its proof forged": (both(FLIP, HUSH, LIE), "ROC AUC"),
    "a broken schema": (data(price=lambda t: t["shop"]), "Train"),
    "loosened gates in the same proposal": (
        both(lambda p: p.params(["shop"]), LOOSE),
        "ROC AUC",
    ),
}
HONEST: dict[str, tuple[Patch, str]] = {
    "better": (
        lambda p: p.params(["shop", "price", "age"]),
        "better than the champion",
    ),
    "equal, with cleaner code": (
        edit("pipeline/train.py", LEARN, f"{LEARN}    # cleaner\n"),
        "no significant difference",
    ),
    "only words": (lambda p: p.write("README.md", "words\n"), "no model change"),
}


def without_model(artifact: bytes) -> bytes:
    """Return what a swallowed exit code leaves behind."""
    source, target = zipfile.ZipFile(io.BytesIO(artifact)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            if name != "model.onnx":
                archive.writestr(name, source.read(name))
    return target.getvalue()


def with_file(name: str, content: bytes) -> Forge:
    """Return a forgery that adds a file to the artifact."""

    def forge(artifact: bytes) -> bytes:
        target = io.BytesIO(artifact)
        with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        return target.getvalue()

    return forge


def bomb(artifact: bytes) -> bytes:
    """Return an artifact with five gigabytes of nothing in a few megabytes."""
    target = io.BytesIO(artifact)
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("zeros", "w", force_zip64=True) as file:
            block = bytes(50_000_000)
            for _ in range(100):
                file.write(block)
    return target.getvalue()


def external(_: bytes) -> bytes:
    """Return the bytes of a model that reads another file."""
    return bytes(outside(linear({"price": 1.0})).SerializeToString())


def nothing(_: bytes) -> bytes:
    """Return a model that answers NaN."""
    return bytes(linear({"price": 1.0}, float("nan")).SerializeToString())


FORGED: dict[str, tuple[Forge, str]] = {
    "a swallowed exit code: no model in the artifact": (without_model, "Artifact"),
    "a forged verdict in the artifact": (
        with_file("judgement.json", b'{"checks": []}'),
        "Artifact",
    ),
    "a path out of the artifact": (with_file("../../evil", b"x"), "Artifact"),
    "a 5 GB zip bomb": (bomb, "Artifact"),
    "a model put in after training": (
        lambda a: altered(a, model_onnx=nothing(a)),
        "Lock",
    ),
    "a model with external data put in": (
        lambda a: altered(a, model_onnx=external(a)),
        "Lock",
    ),
    "a hand-edited lock": (
        lambda a: altered(a, dvc_lock=read(a, "dvc.lock").replace(b"md5: ", b"md5: 0")),
        "Lock",
    ),
    "a stale lock": (
        lambda a: altered(a, dvc_lock=read(a, "dvc.lock").replace(b"1", b"2")),
        "Lock",
    ),
}


@pytest.fixture(scope="module")
def reigning(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose champion was judged, adopted, merged and released."""
    project = Project(tmp_path_factory.mktemp("reigning"))
    pull = project.propose("first")
    artifact = project.built(pull)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        hub = validate(project, pull, artifact, patch)
    noted("a first model", hub.comments[1])
    assert hub.statuses[-1][1] == "pending"
    project.write("dvc.lock", read(artifact, "dvc.lock").decode())
    project.commit("adopt")
    commit = project.merge(pull)
    project.release(verdicts(project)[0]["manifest_sha256"], commit)
    git("switch", "-q", "main", cwd=project.clone)
    return project


@pytest.fixture
def project(
    reigning: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """The same in a folder of the test's own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return reigning.copy(tmp_path / "home")


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write what happened where a person finds it."""
    yield
    head = ["| Challenger | Verdict | Refused by |", "|---|---|---|"]
    Path("build").mkdir(exist_ok=True)
    Path("build", "planted.md").write_text("\n".join([*head, *TABLE]) + "\n")


def noted(name: str, comment: str) -> list[str]:
    """Add a row to the table; return the checks that failed."""
    lines = [line.split(" | ") for line in comment.splitlines() if "⛔&nbsp;" in line]
    failed = list(dict.fromkeys(cells[1] for cells in lines))
    verdict = comment.splitlines()[0].removeprefix("## ")
    TABLE.append(f"| {name} | {verdict} | {', '.join(failed)} |")
    return failed


def judged(
    project: Project, name: str, forge: Forge, patch: pytest.MonkeyPatch
) -> tuple[Hub, list[str]]:
    """Train and judge what stands on the author's disk."""
    pull = project.propose("planted")
    done = project.train(pull)
    if done.returncode:
        hub = validate(project, pull, b"", patch, conclusion="failure")
    else:
        artifact = forge(packed(project.home / "runner" / "artifact"))
        hub = validate(project, pull, artifact, patch)
    return hub, noted(name, hub.comments[pull["number"]])


@pytest.mark.parametrize("name", PROPOSED)
def test_a_bad_proposal_is_refused_for_its_own_reason(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, check = PROPOSED[name]
    plant(project)
    hub, failed = judged(project, name, lambda artifact: artifact, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert check in failed, failed


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_artifact_is_refused_for_its_own_reason(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge, check = FORGED[name]
    project.params(ALL)
    hub, failed = judged(project, name, forge, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert failed == [check]


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_proposal_passes(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, words = HONEST[name]
    plant(project)
    hub, failed = judged(project, name, lambda artifact: artifact, monkeypatch)
    assert hub.statuses[-1][1] in ("pending", "success"), "pending: only its lock"
    assert failed == [] and words in next(reversed(hub.comments.values()))
