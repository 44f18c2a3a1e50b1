"""The house rules: who may import what, thin workflows, no secret in a tracked file."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlgitops import login
from mlgitops.commands import act, install, secrets
from mlgitops.release.environments import RESERVED

STAGES = {f"mlgitops.pipeline.{name}" for name in ("prepare", "train", "evaluate")}
IO = {"os", "pathlib", "shutil", "socket", "subprocess", "sys", "tempfile", "urllib"}
CLOCK = {"datetime", "random", "time"}
MESSAGES = "mlgitops/cluster"  # between processes of one run; nothing is a file
PICKLE = {"pickle", "joblib", "cloudpickle", "skops"}
SERVING = {
    "flatbuffers",
    "msgspec",
    "numpy",
    "onnxruntime",
    "prometheus_client",
    "pyarrow",  # where it is installed: Parquet bodies, read in a process of their own
    "uvicorn",
    "uvloop",
    "httptools",
    "yaml",
}
PURE = {f"mlgitops.pipeline.{name}" for name in ("contract", "data", "schema", "task")}
PURE |= {f"mlgitops.{n}" for n in ("pipeline.settings", "settings", "space")}  # params
PURE |= {f"mlgitops.pipeline.{n}" for n in ("golden", "manifest", "sides", "words")}
PURE |= {"mlgitops.pipeline.kinds"}
PURE |= {f"mlgitops.pipeline.{n}" for n in ("folds", "intervals")}
PURE |= {f"mlgitops.pipeline.{n}" for n in ("reweighing", "weights")}
PURE |= {"mlgitops.pipeline.provenance"}
PURE |= {"mlgitops.metrics", "mlgitops.distance", "mlgitops.machinery"}
PURE |= {"mlgitops.rarest", "mlgitops.environment_order"}
PURE |= {"mlgitops.judgement"}  # what the judge finds, as numbers
SHARED = {"built", "git", "git_tree", "github", "heartbeat", "inventory", "ledger"}
SHARED |= {"lock", "login", "machine", "patience", "recipe", "server_code", "stages"}
SHARED |= {"registered_runners", "runners", "storage", "train_run"}
SHARED = {f"mlgitops.{name}" for name in (*SHARED, "report")}
SHARED |= {"mlgitops.prediction_log", "mlgitops.production_data"}
PARTS = PURE | SHARED | {"mlgitops.serving.verify"}  # the one verifier
LAYERS = {  # what a folder may use beside itself and packages; a folder names all of it
    "model": {
        f"mlgitops.pipeline.{n}" for n in ("arrays", "contract", "datetimes", "texts")
    },
    "mlgitops/metrics": {"model.metrics"},  # the team's own
    "mlgitops/pipeline": {"mlgitops.pipeline", "mlgitops.metrics", "model"},
    "mlgitops/report": {"mlgitops.judgement"},
    "mlgitops/judge": PARTS
    | {"model.prepare", "model.metrics"}
    | {"mlgitops.store.owner"}  # whose storage it is
    # What a model file may hold, and what main makes of a pretrained one.
    | {f"mlgitops.pipeline.{name}" for name in ("foreign", "operators", "pretrained")}
    # Main's way to prepare a table that does not fit in memory.
    | {f"mlgitops.pipeline.{name}" for name in ("by_batch", "repeated", "row_groups")}
    # It asks a challenger as the server does.
    | {f"mlgitops.serving.{name}" for name in ("model", "predictions", "rows")},
    "mlgitops/release": PARTS | {"mlgitops.serving.openapi"},  # of a version's release
    "mlgitops/alert": PARTS,
    "mlgitops/monitor": PARTS  # and what newer rows bring
    | {"mlgitops.pipeline.fitting", "mlgitops.pipeline.folds", "mlgitops.cluster"}
    # A file is read in pieces, and a table is sorted that does not fit in memory.
    | {"mlgitops.pipeline.row_groups", "mlgitops.pipeline.by_batch"},
    # It reads what judge, release and monitor wrote, by the ledgers of others.
    "mlgitops/fleet": PARTS | {"mlgitops.release"},
    # It asks a version's own file, as the server does.
    "mlgitops/explain": PARTS | {"mlgitops.serving.model"},
    "mlgitops/serving": {"mlgitops.machinery", "mlgitops.prediction_log"},
    # It asks a version as the server does, and opens addresses with storage's login.
    "mlgitops/batch": {
        "mlgitops.cluster",
        "mlgitops.lock",
        "mlgitops.storage",
        "mlgitops.prediction_log",
        *(f"mlgitops.serving.{n}" for n in ("model", "predictions", "rows", "verify")),
        "mlgitops.serving.vectors",
    },
    "mlgitops/shipping": {"mlgitops.prediction_log", "mlgitops.storage"},
    # What still names an object, and which files have a person's rows.
    "mlgitops/retention": PARTS
    | {"mlgitops.monitor.labels", "mlgitops.release", "mlgitops.shipping"}
    | {"mlgitops.store"},
    "mlgitops/store": {
        f"mlgitops.{name}" for name in ("git", "ledger", "lock", "login", "storage")
    },
    "mlgitops/cluster": {"mlgitops.git"},  # it knows no task; one brings its function
    "mlgitops/host": set(),
    "mlgitops/edge": {"mlgitops.serving", "mlgitops.pipeline.contract"},
    "mlgitops/kubernetes": set(),
    "mlgitops/table": {
        "mlgitops.git",
        "mlgitops.lock",
        "mlgitops.pipeline.schema",
        "mlgitops.pipeline.words",
        "mlgitops.report",
        "mlgitops.storage",
    },
    # It fits folds of the training rows, and knows no holdout.
    "mlgitops/search": {
        *("mlgitops.git", "mlgitops.metrics", "mlgitops.report", "mlgitops.space"),
        *(f"mlgitops.pipeline.{n}" for n in ("contract", "data", "fitting", "folds")),
        *(f"mlgitops.pipeline.{n}" for n in ("manifest", "schema", "settings")),
        *("mlgitops.pipeline.sides", "mlgitops.pipeline.task", "model.estimator"),
        "mlgitops.table.yaml_lines",
    },
    "mlgitops/commands": PARTS
    | {"mlgitops.pipeline.folds"}
    | {f"mlgitops.{part}" for part in ("alert", "batch", "edge", "judge", "release")}
    | {"mlgitops.monitor", "mlgitops.retention", "mlgitops.shipping"}
    | {"mlgitops.cluster", "mlgitops.explain"}
    | {"mlgitops.serving.model", "mlgitops.serving.rows"}
    | {f"mlgitops.{part}" for part in ("fleet", "search", "store", "table")},
}


def modules(*folders: str) -> list[Path]:
    """Return the Python files of some folders."""
    return sorted(path for name in folders for path in Path(name).rglob("*.py"))


def dotted(path: Path) -> str:
    """Return a file's module name."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Return the modules that a file imports; `from a import b` may be a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole module"
            for alias in node.names:
                name = f"{node.module}.{alias.name}".replace(".", "/")
                is_module = Path(f"{name}.py").exists() or Path(name).is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return frozenset(map(str, found))


def packages(path: Path) -> set[str]:
    """Return the first part of each import's name."""
    return {name.split(".")[0] for name in imports(path)}


def own(path: Path) -> set[str]:
    """Return what a file imports of this repository."""
    return {n for n in imports(path) if n.split(".")[0] in ("mlgitops", "model")}


def within(name: str, allowed: set[str]) -> bool:
    """Return whether a module is one of these, or below one."""
    return any(name == a or name.startswith(f"{a}.") for a in allowed)


ROWS = [(folder, path) for folder in LAYERS for path in modules(folder)]


@pytest.mark.parametrize(("folder", "path"), ROWS, ids=[str(path) for _, path in ROWS])
def test_a_layer_imports_what_it_may(folder: str, path: Path) -> None:
    allowed = LAYERS[folder] | {folder.replace("/", ".")}
    refused = {name for name in own(path) if not within(name, allowed)}
    assert not refused, f"{path} may not import {refused}"
    if folder != MESSAGES:
        assert not PICKLE & packages(path)


def test_an_import_of_another_layer_is_seen(tmp_path: Path) -> None:
    """Wherever it stands, and however it is written."""
    file = tmp_path / "file.py"
    file.write_text("def f():\n    from mlgitops.judge import gates\n")
    assert own(file) == {"mlgitops.judge.gates"}
    assert within("mlgitops.judge.gates", LAYERS["mlgitops/commands"])
    assert not within("mlgitops.judge.gates", LAYERS["mlgitops/release"])
    assert not within("mlgitops.pipeline.contracts", LAYERS["mlgitops/release"])


def test_every_folder_has_its_layer() -> None:
    """And what lies in none is shared: it knows no layer."""
    folders = {p.parent for p in modules("mlgitops") if p.parent != Path("mlgitops")}
    known = {Path(name) for name in LAYERS}
    assert {f for f in folders if not {f, *f.parents} & known} == set()
    for path in Path("mlgitops").glob("*.py"):
        if path.name != "testing.py":  # what the team's tests ask runs the pipeline
            assert own(path) <= SHARED | PURE, path


@pytest.mark.parametrize("path", modules("mlgitops"), ids=str)
def test_only_the_entry_point_runs_a_stage(path: Path) -> None:
    """Stages do not know one another, and nothing else trains a model."""
    assert not STAGES & imports(path)


EXITS = {  # programs of their own; a package reads none of their functions
    "mlgitops/host/agent.py",
    "mlgitops/edge/run.py",
}


def exits(tree: ast.AST, inside: str = "") -> set[str]:
    """Return the functions that end the program; "" is the module itself."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        name = inside
        if isinstance(node, ast.FunctionDef):
            name = node.name
        elif isinstance(node, ast.Raise) and node.exc is not None:
            if re.match(r"SystemExit\b|github\.fail\(", ast.unparse(node.exc)):
                found.add(inside)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit":
            found.add(inside)
        found |= exits(node, name)
    return found


@pytest.mark.parametrize("path", modules("mlgitops", "model"), ids=str)
def test_only_a_command_ends_the_program(path: Path) -> None:
    """An error is a type: `main`, or an argparse parser, turns it into a sentence."""
    if Path("mlgitops/commands") in path.parents or path.as_posix() in EXITS:
        return
    found = exits(ast.parse(path.read_text())) - {"main", "error"}
    assert not found


def test_an_exit_is_seen_wherever_it_stands() -> None:
    """In a branch, in an inner function, and by its other names."""
    for line in ("raise SystemExit", "raise SystemExit(1)", "sys.exit(1)"):
        assert exits(ast.parse(f"def f():\n    if x:\n        {line}\n")) == {"f"}
    assert exits(ast.parse("def f():\n    raise github.fail('no') from e")) == {"f"}
    assert exits(ast.parse("def main():\n    raise SystemExit(1)")) == {"main"}
    assert not exits(ast.parse("def f():\n    raise ValueError('SystemExit')"))


PURE_FILES = [
    *modules("mlgitops/metrics", "model"),
    *(
        Path("mlgitops/pipeline", f"{name}.py")
        for name in ("task", "data", "fitting", "schema", "settings")
    ),
]


@pytest.mark.parametrize("path", PURE_FILES, ids=str)
def test_pure_modules_touch_nothing(path: Path) -> None:
    """`model/` is pure: no file, no environment, no network, no clock."""
    assert not (IO | CLOCK) & packages(path)
    assert not re.search(r"\bopen\(|\.read_\w+\(", path.read_text())


@pytest.mark.parametrize("path", modules("mlgitops/serving"), ids=str)
def test_serving_needs_little(path: Path) -> None:
    assert packages(path) <= sys.stdlib_module_names | SERVING | {"mlgitops"}


ANYWHERE = ("__init__", "__main__", "machinery", "prediction_log")
ANYWHERE += ("serving/verify", "host/agent", "edge/update", "edge/devices")


@pytest.mark.parametrize("name", ANYWHERE)
def test_what_runs_anywhere_is_standard_library(name: str) -> None:
    path = Path("mlgitops", f"{name}.py")
    if path.exists():  # the agent goes where the target is another
        assert not own(path)
        assert packages(path) <= sys.stdlib_module_names


GROUPS = {"xgboost", "lightgbm", "catboost", "onnxmltools"}  # a team adds them
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "google": "protobuf"}


@pytest.mark.parametrize("lock", ["monitor", "ops"])
def test_whoever_fits_or_reads_rows_has_its_packages(lock: str) -> None:
    """The monitor fits main's recipe; the judge calls main's `prepare`, and no more."""
    needed = {
        p for file in modules("mlgitops/pipeline", "model") for p in packages(file)
    }
    needed -= sys.stdlib_module_names | {"mlgitops", "model"} | GROUPS
    if lock == "ops":
        needed -= {"skl2onnx"}
    names = ("ops", lock)
    texts = [Path("mlgitops/requirements", f"{n}.txt").read_text() for n in names]
    for package in needed:
        name = DISTRIBUTIONS.get(package, package)
        assert re.search(rf"^{name}==", "\n".join(texts), re.M), name


LATE = {"pandas", "sklearn", "scipy"}  # for whoever computes something with them
HEAVY = {  # what a command does not import before it has to
    "deploy": {"cryptography", "numpy", *LATE},
    "register": {"cryptography", "numpy", *LATE},
    "build": LATE,
    "validate": LATE,
    "monitor": LATE,
    "retrain": LATE,
}


@pytest.mark.parametrize("command", HEAVY)
def test_a_command_starts_without_what_it_may_not_need(command: str) -> None:
    """Its job would wait for it: scikit-learn alone takes more than a second."""
    code = f"import sys, mlgitops.commands.{command}; print(*sys.modules)"
    loaded = subprocess.check_output((sys.executable, "-c", code), text=True).split()
    assert f"mlgitops.commands.{command}" in loaded
    assert not HEAVY[command] & set(loaded)


WORKFLOWS = sorted(Path(".github/workflows").glob("*.yml"))


INSTALLS = re.compile(r"\bpip\b.{0,60}\b(install|sync)\b")


def test_everything_that_is_installed_is_held_to_a_hash() -> None:
    """The installer itself too, the same on laptops and in workflows."""
    pin = install.lock("uv").read_text()
    assert re.search(r"^uv==[\d.]+ \\\n    --hash=sha256:[0-9a-f]{64}", pin, re.M)
    assert len(re.findall(r"^[\w.-]+==", pin, re.M)) == 1
    assert str(install.lock("uv")) in Path("Makefile").read_text()
    assert 'lock("uv")' in Path(install.__file__).read_text()
    files = [Path("Makefile"), *Path("deploy").rglob("Dockerfile"), *WORKFLOWS]
    lines = []
    for path in (*files, *modules("mlgitops")):
        text = path.read_text().replace("\\\n", " ")
        lines += [line for line in text.splitlines() if INSTALLS.search(line)]
    assert len(lines) >= 5
    assert [line for line in lines if "--require-hashes" not in line] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflow_is_thin_and_starts_from_no_rights(path: Path) -> None:
    text = path.read_text()
    flow = yaml.safe_load(text)
    called = set(flow[True]) == {"workflow_call"}  # YAML reads `on` as true
    assert flow["permissions"] == {} and ("concurrency" in flow) is not called
    assert len(text.splitlines()) <= 120
    for job in flow["jobs"].values():
        assert job["name"] and ("timeout-minutes" in job or "uses" in job)
        for step in job.get("steps", []):
            run = step.get("run", "")
            assert len(run.strip().splitlines()) <= 3
            assert "${{" not in run, "what a stranger can write goes through env"
            if "uses" in step:
                assert re.search(r"@[0-9a-f]{40}$", step["uses"])
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_code_of_a_proposal_runs_beside_no_right_to_write() -> None:
    """The one secret, and the role, read storage only: `build` tries that first."""
    for path in WORKFLOWS:
        flow = yaml.safe_load(path.read_text())
        if "pull_request" not in flow[True]:  # YAML reads `on` as true
            continue
        secret = set(re.findall(r"secrets\.(\w+)", path.read_text()))
        roles = set(re.findall(r"vars\.(STORAGE\w+)", path.read_text()))
        readers = path.stem == "train"
        assert secret == ({login.READ_LOGIN} if readers else set())
        assert roles == ({login.READ_ROLE} if readers else set())
        for job in flow["jobs"].values():
            rights = dict(job["permissions"])
            assert (rights.pop("id-token", None) == "write") is readers
            assert set(rights.values()) <= {"read"}


def test_a_secret_is_read_only_in_an_environment_that_is_closed_to_branches() -> None:
    """`make github` closes those of RESERVED and of params.yaml.

    A login that only reads storage is for proposals, which come from branches.
    """
    read_in = {
        job.get("environment")
        for path in WORKFLOWS
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        if set(re.findall(r"secrets\.(\w+)", str(job))) - {login.READ_LOGIN}
    }
    assert read_in == {*RESERVED, "${{ inputs.environment }}"}


def test_a_token_of_a_run_is_for_storage_or_to_attest() -> None:
    """The right to attest stands beside no secret; a role comes with a token."""
    attesting = []
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            token = job["permissions"].get("id-token")
            if "attestations" in job["permissions"]:
                attesting.append(name)
                assert "secrets." not in str(job) and "environment" not in job
            else:
                assert (token == "write") is (login.ROLE in str(job)), name
    assert attesting == ["attest"]


def test_a_role_is_only_to_write_where_something_is_stored() -> None:
    writers = {path.stem for path in WORKFLOWS if login.WRITE_ROLE in path.read_text()}
    assert writers == {"validate", "monitor", "score"}
    for path in WORKFLOWS:
        text = path.read_text()
        assert text.count("STORAGE_ROLE:") == text.count("STORAGE_LOGIN:"), path


@pytest.mark.parametrize(
    "line",
    [
        "password = hunter2",
        "secret_access_key = x",
        "access_key_id = x",
        "connection_string = AccountKey=x",
        "sas_token = x",
        "url = ssh://me:hunter2@machine/folder",
        "gdrive_client_secret = x",
    ],
)
def test_secret_in_the_config_is_found(line: str) -> None:
    assert secrets.secrets_in(f"['remote \"storage\"']\n    {line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "url = s3://bucket/folder",
        "url = ssh://me@machine/folder",
        "ask_password = true",
        "credentialpath = /home/me/key.json",
        "endpointurl = http://127.0.0.1:9000",
        "verify = true",
        "profile = models",
    ],
)
def test_harmless_setting_is_left_alone(line: str) -> None:
    assert not secrets.secrets_in(f"['remote \"storage\"']\n    {line}\n")


def test_event_of_make_act_has_what_train_reads() -> None:
    pull = act.event("b" * 40, "a" * 40, "try")["pull_request"]
    assert isinstance(pull, dict)
    assert pull["head"]["sha"] == "a" * 40 and pull["base"]["sha"] == "b" * 40
