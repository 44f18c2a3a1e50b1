"""The stages as DVC runs them: what they need, what they write, what they refuse."""

import ast
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from machinery import rows
from mlgitops.metrics import MEASURES
from mlgitops.pipeline import contract as terms
from mlgitops.pipeline import parity
from mlgitops.pipeline import train as stage
from mlgitops.pipeline.contract import Contract

ROOT = rows.ROOT
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PACKAGE = ROOT / "pipeline"
MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py")
)
CONTRACT = Contract.parse(yaml.safe_load((ROOT / "contract.yaml").read_text()))
LINEAR = "ridge" if CONTRACT.task == "regression" else "logistic_regression"


def imported(module: str) -> set[str]:
    """Return the files of `pipeline` that a module of it imports, itself included."""
    seen, waiting = {"__init__"}, [module]
    while waiting:
        name = waiting.pop()
        file = next((f for f in _files(name) if f in MODULES), None)
        if file is None or file in seen:
            continue
        seen.add(file)
        for node in ast.walk(ast.parse((ROOT / f"pipeline/{file}.py").read_text())):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [f"{node.module}.{alias.name}" for alias in node.names]
                found.append(str(node.module))
            else:
                continue
            parts = [name.split(".") for name in found]
            ours = [p[1:] for p in parts if p[0] == "pipeline"]
            waiting += ["/".join(p[:n]) for p in ours for n in range(1, len(p) + 1)]
    return {f"pipeline/{name}.py" for name in seen}


def _files(name: str) -> tuple[str, str]:
    """Return where a module, or a package, of `pipeline` would be."""
    return name, f"{name}/__init__"


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
        monkeypatch.setattr(sys, "argv", STAGES[name]["cmd"].split()[2:])
        importlib.import_module(f"pipeline.{name}").main()


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


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_what_it_imports(name: str) -> None:
    """Exactly: a missing file would hide a change, one too many would retrain."""
    listed = {path for path in STAGES[name]["deps"] if path.endswith(".py")}
    assert listed == imported(name)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_files_and_settings_that_it_reads(name: str) -> None:
    """Every file its command or its code names, and its section of params.yaml."""
    code = (ROOT / f"pipeline/{name}.py").read_text()
    outs = [*STAGES[name].get("outs", []), *STAGES[name].get("metrics", [])]
    named = [word for word in STAGES[name]["cmd"].split()[3:] if word not in outs]
    known = ["contract.yaml", "requirements/pipeline.txt"]
    named += [path for path in known if f'"{path}"' in code]
    assert set(named) <= set(STAGES[name]["deps"])
    assert STAGES[name]["params"] == [name] and f'params, "{name}"' in code.replace(
        'yaml.safe_load(Path("params.yaml").read_text())', "params"
    )


def test_the_manifest_hashes_the_code_that_train_depends_on() -> None:
    """What dvc.yaml calls the code of train is what code.sha256 covers."""
    covered = {Path(str(module.__file__)).stem for module in stage.MODULES}
    listed = {Path(p).stem for p in STAGES["train"]["deps"] if p.endswith(".py")}
    assert covered == listed - {"__init__"}


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
    assert version["parity"]["max_difference"] <= params["parity"]
    assert len(version["golden"]) == 20
    text = json.dumps(version, sort_keys=True, indent=2) + "\n"
    assert (build / "manifest.json").read_text() == text


def test_evaluate_measures_the_exported_model(built: Path) -> None:
    """On the rows of the holdout, all of them."""
    found = json.loads((built / "build/metrics.json").read_text())
    assert found["rows"] == len(pd.read_parquet(built / "build/holdout.parquet"))
    assert 0.3 < found[MEASURES[CONTRACT.task][0].key] < 1
    bins = found["residuals" if CONTRACT.task == "regression" else "calibration"]
    assert sum(entry["rows"] for entry in bins) == found["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", LINEAR])
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
    monkeypatch.setattr(sys, "argv", STAGES[name]["cmd"].split()[2:])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"pipeline.{name}").main()
    assert str(ended.value).startswith(f"{name}: ") and "\n" not in str(ended.value)
    return str(ended.value)


def test_a_refusal_as_a_person_sees_it(built: Path, tmp_path: Path) -> None:
    """One line on standard error, exit code 1, no traceback."""
    done = run("mlgitops.pipeline.evaluate", "no", "such", "file", "out", cwd=built)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "evaluate: such is missing; type make pull, then make repro.\n"
    )


@pytest.mark.parametrize(
    ("name", "path", "broken", "words"),
    [
        ("prepare", "data", "duplicate", "are repeated"),
        ("prepare", "data", "truncated", "no Parquet file that can be read"),
        ("prepare", "data", None, "is missing; type make pull"),
        ("prepare", "params.yaml", "a: [", "no sound YAML, at line"),
        ("train", "params.yaml", "prepare: {}", 'no section "train"'),
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
    with pytest.raises(terms.ContractError, match=r"differs from the fitted model"):
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
    done = run("dvc", "repro", "--no-run-cache", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {name for name in STAGES if f"Running stage '{name}'" in done.stdout}


def outdated(folder: Path) -> set[str]:
    """Return the stages that DVC would run because one of their files changed."""
    done = run("dvc", "status", "--json", cwd=folder)
    return {name for name in json.loads(done.stdout or "{}") if name in STAGES}


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_a_changed_module_outdates_the_stages_that_import_it(
    tracked: Path, module: str
) -> None:
    """No stage more, no stage less, as real DVC sees it."""
    file = tracked / f"pipeline/{module}.py"
    before = file.read_bytes()
    file.write_bytes(before + b"# changed\n")
    wanted = {name for name in STAGES if f"pipeline/{module}.py" in imported(name)}
    assert outdated(tracked) == wanted
    file.write_bytes(before)


@pytest.mark.slow
def test_reproducing_runs_what_changed_and_nothing_else(tracked: Path) -> None:
    """A metric runs evaluate alone; ops, serving and their settings run nothing."""
    assert reproduced(tracked) == set()
    changed = [*(tracked / "ops").glob("*.py"), *(tracked / "serving").glob("*.py")]
    for file in changed:
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
