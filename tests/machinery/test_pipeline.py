"""The stages as DVC runs them: what they need, what they write, what they refuse."""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from machinery import lengths, rows, warm
from mlgitops.metrics import METRICS
from mlgitops.pipeline import contract as terms
from mlgitops.pipeline import evaluate, fitting, manifest, parity
from mlgitops.pipeline import train as stage
from mlgitops.pipeline.contract import Contract

ROOT = rows.ROOT
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CONTRACT = Contract.parse(yaml.safe_load((ROOT / "contract.yaml").read_text()))
ENTRY = {"mlgitops/__init__.py", "mlgitops/__main__.py"}  # the entry point: no result
CODE = re.compile("mlgitops|model")
LATER = {"model/metrics.py"}  # evaluate loads it once it holds a metric
LINEAR = "ridge" if CONTRACT.task == "regression" else "logistic_regression"


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment in a folder; text in, text out."""
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    site = {"DVC_SITE_CACHE_DIR": str(cwd / ".site"), "DVC_NO_ANALYTICS": "1"}
    full = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **site, **env}
    command = [sys.executable, "-m", *args]
    return subprocess.run(
        command, cwd=cwd, env=full, text=True, capture_output=True, check=False
    )


def copy(folder: Path) -> Path:
    """Copy what the pipeline reads, with made-up rows in the place of the data."""
    for name in ("mlgitops", "model"):
        if (ROOT / name).exists():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("contract.yaml", "params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements").mkdir()
    text = (ROOT / "requirements/pipeline.txt").read_bytes()
    (folder / "requirements/pipeline.txt").write_bytes(text)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())["prepare"]
    days = 2 * params["train_days"] + params["holdout_days"]
    path = folder / source()
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.make(CONTRACT, 4000, int(days)).to_parquet(path, index=False)
    return folder


def source() -> str:
    """Return the path of the labelled rows, as dvc.yaml names it."""
    return str(next(d for d in STAGES["prepare"]["deps"] if d.startswith("data/")))


def stages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the three stages as dvc.yaml has them, in this process."""
    monkeypatch.chdir(folder)
    for name in STAGES:
        monkeypatch.setattr(sys, "argv", STAGES[name]["cmd"].split()[3:])
        importlib.import_module(f"mlgitops.pipeline.{name}").main()


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of everything in build/."""
    files = sorted((folder / "build").iterdir())
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy in which every stage has run once."""
    folder = copy(tmp_path_factory.mktemp("built"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        stages(folder, monkeypatch)
    return folder


@pytest.fixture(scope="module")
def imported(built: Path) -> dict[str, set[str]]:
    """Return the files of the repository that each stage loads, as it really runs."""
    return {name: loaded(name, built) for name in STAGES}


def loaded(name: str, folder: Path) -> set[str]:
    """Run one stage in a process of its own; return the files that it loaded."""
    words = STAGES[name]["cmd"].split()[2:]
    code = (
        f"import sys; sys.argv = {words!r}\n"
        "from mlgitops.__main__ import main; main()\n"
        "ours = [n for n in sys.modules if n.split('.')[0] in ('mlgitops', 'model')]\n"
        "print(*(sys.modules[n].__file__ for n in ours), sep='\\n', file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    files = {Path(line) for line in done.stderr.splitlines() if line.endswith(".py")}
    return {str(file.relative_to(folder)) for file in files} - ENTRY


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_what_it_imports(
    name: str, imported: dict[str, set[str]]
) -> None:
    """One file too few would hide a change; a folder of the machinery counts whole.

    The rooms of `model/` count by file, so that a metric retrains nothing.
    """
    listed = {path for path in STAGES[name]["deps"] if CODE.match(path)}
    rooms = {path for path in listed if path.startswith("model/")}
    ours = {path for path in imported[name] if path.startswith("model/")}
    assert ours <= rooms and rooms - ours <= LATER
    parts = {str(Path(path).parent) for path in imported[name] - ours}
    assert parts == listed - rooms


def test_settings_that_a_stage_depends_on_are_read_by_it() -> None:
    """Its section of params.yaml, and each file that its command or its code names."""
    for name, stage_ in STAGES.items():
        code = (ROOT / f"mlgitops/pipeline/{name}.py").read_text()
        outs = [*stage_.get("outs", []), *stage_.get("metrics", [])]
        named = [word for word in stage_["cmd"].split()[4:] if word not in outs]
        known = ["contract.yaml", "requirements/pipeline.txt"]
        named += [path for path in known if f'"{path}"' in code]
        assert set(named) <= set(stage_["deps"])
        assert stage_["cmd"].split()[:4] == ["python", "-m", "mlgitops", name]
        assert stage_["params"] == [name] and f"settings.{name}(params" in code


def test_the_manifest_hashes_the_code_that_train_loads(
    imported: dict[str, set[str]],
) -> None:
    """What `train` really loads is what code.sha256 covers."""
    assert set(manifest.CODE) == {
        p for p in imported["train"] if not p.endswith("__init__.py")
    }


def test_the_manifest_says_what_it_was_made_from(built: Path) -> None:
    """Every hash is that of the file it stands for."""
    build = built / "build"
    version = json.loads((build / "manifest.json").read_text())
    found = digests(built)
    assert version["model"]["sha256"] == found["model.onnx"]
    assert version["data"]["train_sha256"] == found["train.parquet"]
    for entry, path in (
        (version["data"], source()),
        (version["contract"], "contract.yaml"),
        (version["requirements"], "requirements/pipeline.txt"),
    ):
        digest = hashlib.sha256((built / path).read_bytes()).hexdigest()
        assert entry["sha256"] == digest
    document = yaml.safe_load((built / "contract.yaml").read_text())
    plain = hashlib.sha256(json.dumps(document, indent=1).encode()).hexdigest()
    assert version["contract"]["json_sha256"] == plain
    params = yaml.safe_load((built / "params.yaml").read_text())["train"]
    assert version["params"] == params
    assert version.get("threshold") == params.get("threshold")
    assert version["task"] == CONTRACT.task
    assert version["columns"] == params["columns"]
    assert version["data"]["train_rows"] == len(
        pd.read_parquet(build / "train.parquet")
    )
    assert version["claimed"]["parity"]["max_difference"] <= params["parity"]
    assert len(version["golden"]) == 20
    text = json.dumps(version, sort_keys=True, indent=2) + "\n"
    assert (build / "manifest.json").read_text() == text


def test_evaluate_measures_the_exported_model(built: Path) -> None:
    """On the rows of the holdout, all of them."""
    found = json.loads((built / "build/metrics.json").read_text())
    assert found["rows"] == len(pd.read_parquet(built / "build/holdout.parquet"))
    assert 0.3 < found[METRICS[CONTRACT.task][0].key] < 1
    bins = found["residuals" if CONTRACT.task == "regression" else "calibration"]
    assert sum(entry["rows"] for entry in bins) == found["rows"]


def test_evaluate_holds_one_row_group_of_the_holdout(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes the same bytes, however the file is cut."""
    folder = Path(shutil.copytree(built, tmp_path / "cut"))
    path, metrics = folder / "build/holdout.parquet", folder / "build/metrics.json"
    table, before, held = pd.read_parquet(path), metrics.read_bytes(), list[int]()

    def counted(*given: Any) -> Any:
        predictions = fitting.score(*given)
        held.append(len(predictions))
        return predictions

    monkeypatch.chdir(folder)
    monkeypatch.setattr(evaluate, "score", counted)
    for size in (len(table), len(table) // 7):
        table.to_parquet(path, index=False, row_group_size=size)
        metrics.unlink()
        monkeypatch.setattr(sys, "argv", STAGES["evaluate"]["cmd"].split()[3:])
        evaluate.main()
        assert metrics.read_bytes() == before
        assert max(held) == size and sum(held) == len(table)
        held.clear()


@pytest.mark.slow
@pytest.mark.parametrize("estimator", lengths.turn(["hist_gradient_boosting", LINEAR]))
def test_training_twice_gives_the_same_bytes(
    built: Path, tmp_path: Path, estimator: str
) -> None:
    """Whatever the seed of Python's hashes and the number of threads."""
    folder = Path(shutil.copytree(built, tmp_path / "again"))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["train"]["estimator"] = estimator
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    seen = set()
    for seed in ("1", "2", "3"):  # a wrong order showed up in one of two
        command = STAGES["train"]["cmd"].split()[2:]
        env = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}
        done = run(*command, cwd=folder, **env)
        assert done.returncode == 0, done.stderr
        found = digests(folder)
        seen.add((found["model.onnx"], found["manifest.json"]))
    assert len(seen) == 1


def refused(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run one stage of a broken copy; return the one sentence that it ends with."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", STAGES[name]["cmd"].split()[3:])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"mlgitops.pipeline.{name}").main()
    assert str(ended.value).startswith(f"{name}: ") and "\n" not in str(ended.value)
    return str(ended.value)


def test_a_refusal_as_a_person_sees_it(built: Path, tmp_path: Path) -> None:
    """One line on standard error, exit code 1, no traceback."""
    done = run("mlgitops", "evaluate", "no", "such", "file", "out", cwd=built)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "evaluate: such is missing; type make pull, then make repro.\n"
    )


@pytest.mark.parametrize(
    ("name", "path", "broken", "words"),
    [
        ("prepare", "data", "duplicate", "are repeated"),
        ("prepare", "data", "truncated", "cannot be read as Parquet"),
        ("prepare", "data", None, "is missing; type make pull"),
        ("prepare", "params.yaml", "a: [", "not valid YAML, line"),
        ("train", "params.yaml", "prepare: {}", "'train' is missing"),
        ("evaluate", "build/metrics.json", "a folder", "metrics.json"),
    ],
)
def test_an_ordinary_mistake_is_one_sentence(
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    path: str,
    broken: str | None,
    words: str,
) -> None:
    """That says which stage, what is wrong, and what to type if that is known."""
    folder = Path(shutil.copytree(built, tmp_path / "broken"))
    file = folder / (source() if path == "data" else path)
    if broken == "duplicate":
        table = pd.read_parquet(file)
        pd.concat([table, table.iloc[:2]]).to_parquet(file, index=False)
    elif broken == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    elif broken == "a folder":
        file.unlink()
        file.mkdir()
    elif broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    assert words in refused(name, folder, monkeypatch)


@pytest.mark.slow
def test_a_model_that_does_not_convert_is_not_written(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parity worse than params allow: a sentence, and the old files stay."""
    folder = Path(shutil.copytree(built, tmp_path / "parity"))
    monkeypatch.chdir(folder)
    before = digests(folder)
    proof = {"rows": 1, "max_difference": 0.1}
    monkeypatch.setattr(parity, "parity", lambda *_: proof)
    files = [
        Path("build") / n for n in ("train.parquet", "model.onnx", "manifest.json")
    ]
    with pytest.raises(terms.ContractError, match="fitted model"):
        stage.train(*files)
    assert digests(folder) == before


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy that real DVC has reproduced."""
    folder = copy(tmp_path_factory.mktemp("tracked"))
    for command in (["init", "--no-scm"], ["add", source()]):
        done = run("dvc", *command, "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr
    assert reproduced(folder) == set(STAGES)
    return folder


def reproduced(folder: Path) -> set[str]:
    """Reproduce and return the stages that ran."""
    path = warm.path(os.environ["PATH"])
    done = run("dvc", "repro", "--no-run-cache", cwd=folder, PATH=path)
    assert done.returncode == 0, done.stderr
    return {name for name in STAGES if f"Running stage '{name}'" in done.stdout}


def outdated(folder: Path) -> set[str]:
    """Return the stages that DVC would run because one of their files changed."""
    done = run("dvc", "status", "--json", cwd=folder)
    return {name for name in json.loads(done.stdout or "{}") if name in STAGES}


FILES = {  # a file: what has to run again when it changes
    "mlgitops/pipeline/fitting.py": set(STAGES),
    "mlgitops/metrics/paired.py": {"evaluate"},
    "mlgitops/judge/judge.py": set(),
    "mlgitops/serving/app.py": set(),
    "mlgitops/VERSION": set(),
    "model/prepare.py": {"prepare"},
    "model/features.py": {"train"},
    "model/estimator.py": {"train"},
    "model/metrics.py": {"evaluate"},
    "requirements/pipeline.txt": set(STAGES),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_outdates_the_stages_that_depend_on_it(
    tracked: Path, name: str
) -> None:
    """No stage more, no stage less, as real DVC sees it."""
    file = tracked / name
    before = file.read_bytes()
    file.write_bytes(before + b"# changed\n")
    assert outdated(tracked) == FILES[name]
    file.write_bytes(before)


@pytest.mark.slow
def test_reproducing_runs_what_changed_and_nothing_else(tracked: Path) -> None:
    """A metric runs evaluate alone; the judge, the server and others' settings none."""
    assert reproduced(tracked) == set()
    folders = ("judge", "serving", "commands", "monitor")
    for file in (f for n in folders for f in (tracked / "mlgitops" / n).glob("*.py")):
        file.write_text(file.read_text() + "# changed\n")
    params = tracked / "params.yaml"
    params.write_text(params.read_text() + "\nanother: {thing: 1}\n")
    assert reproduced(tracked) == set()
    file = tracked / "mlgitops/metrics/binary.py"
    file.write_text(file.read_text() + "# changed\n")
    assert reproduced(tracked) == {"evaluate"}
    text = params.read_text()
    params.write_text(text.replace("  seed: 1 ", "  seed: 2 ", 1))
    assert reproduced(tracked) == {"train", "evaluate"}
