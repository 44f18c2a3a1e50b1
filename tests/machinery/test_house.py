"""The house rules: who may import what, thin workflows, no secret in a tracked file."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlgitops.commands import act, secrets

STAGES = (
    "mlgitops.pipeline.prepare",
    "mlgitops.pipeline.train",
    "mlgitops.pipeline.evaluate",
)
IO = {"os", "pathlib", "shutil", "socket", "subprocess", "sys", "tempfile", "urllib"}
CLOCK = {"datetime", "random", "time"}
SHARED = {
    "mlgitops.distance",
    "mlgitops.git",
    "mlgitops.github",
    "mlgitops.heartbeat",
    "mlgitops.ledger",
    "mlgitops.lock",
    "mlgitops.machine",
}
SHARED |= {"mlgitops.source", "mlgitops.storage"}
SHARED |= {
    "ops",
    "mlgitops.report",
    "mlgitops.release",
}  # written and released in one way
SERVING = {"msgspec", "numpy", "onnxruntime", "uvicorn", "uvloop", "httptools", "yaml"}


def modules(*folders: str) -> list[Path]:
    """Return the Python files of some packages."""
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
            base = dotted(path).split(".")[: -node.level] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                name = f"{module}.{alias.name}".replace(".", "/")
                is_module = Path(f"{name}.py").exists() or Path(name).is_dir()
                found.add(f"{module}.{alias.name}" if is_module else module)
    return frozenset(found)


def layer(name: str) -> str:
    """Return the first part of a module's name."""
    return name.split(".")[0]


@pytest.mark.parametrize("path", modules("pipeline"), ids=str)
def test_pipeline_knows_nothing_of_what_reads_it(path: Path) -> None:
    found = imports(path)
    assert not {"ops", "serving", "deploy"} & set(map(layer, found))
    assert not set(STAGES) & found, "a stage never imports another"


PURE = [
    Path("pipeline", f"{name}.py") for name in ("task", "data", "features", "model")
]


@pytest.mark.parametrize("path", [*PURE, *modules("mlgitops/metrics")], ids=str)
def test_pure_modules_touch_nothing(path: Path) -> None:
    assert not (IO | CLOCK) & set(map(layer, imports(path)))
    assert not re.search(r"\bopen\(|\.read_\w+\(", path.read_text())


@pytest.mark.parametrize("path", modules("ops"), ids=str)
def test_ops_use_the_pure_part_of_the_pipeline(path: Path) -> None:
    found, own = imports(path), dotted(path)
    package = ".".join(own.split(".")[:2])
    pure = {
        "mlgitops.pipeline.contract",
        "mlgitops.pipeline.data",
        "mlgitops.metrics",
        "mlgitops.pipeline.task",
    }
    pure |= set(map(dotted, modules("mlgitops/metrics")))
    if package in ("mlgitops.monitor", "mlgitops.commands.retrain"):
        package = "mlgitops.monitor"  # one part: what it found, and what it proposes
        pure |= {
            "model.features",
            "mlgitops.pipeline.fitting",
        }  # to ask what newer rows bring
    for name in found:
        if layer(name) == "pipeline":
            assert name in pure, name
        if layer(name) == "serving":
            assert name == "mlgitops.serving.verify", name
        if layer(name) == "ops":
            theirs = ".".join(name.split(".")[:2])
            assert theirs in {package, *SHARED}, f"{own} is not a part of {theirs}"
    assert "deploy" not in set(map(layer, found))


@pytest.mark.parametrize("path", modules("serving"), ids=str)
def test_serving_needs_little(path: Path) -> None:
    known = sys.stdlib_module_names | SERVING | {"serving"}
    assert set(map(layer, imports(path))) <= known


@pytest.mark.parametrize("name", ["serving/verify.py", "mlgitops/host/agent.py"])
def test_what_runs_anywhere_is_standard_library(name: str) -> None:
    if Path(name).exists():
        assert set(map(layer, imports(Path(name)))) <= sys.stdlib_module_names


def test_a_deployment_starts_without_numpy() -> None:
    """Its three jobs would wait a third of a second each, for no number."""
    words = "import sys, mlgitops.commands.deploy, mlgitops.commands.register; sys.exit('numpy' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", words)).returncode == 0


def test_no_pickle_anywhere() -> None:
    for path in modules("pipeline", "ops", "serving", "deploy"):
        assert not {"pickle", "joblib", "cloudpickle", "skops"} & set(
            map(layer, imports(path))
        ), path


WORKFLOWS = sorted(Path(".github/workflows").glob("*.yml"))


def test_workflows_and_laptops_install_with_one_uv() -> None:
    pins = [
        re.search(r"uv==[\d.]+", Path(name).read_text())
        for name in ("Makefile", ".github/install.py")
    ]
    assert pins[0] and pins[1] and pins[0][0] == pins[1][0]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_workflow_is_thin_and_starts_from_no_rights(path: Path) -> None:
    text = path.read_text()
    flow = yaml.safe_load(text)
    assert flow["permissions"] == {} and "concurrency" in flow
    assert len(text.splitlines()) <= 120
    for job in flow["jobs"].values():
        assert job["name"] and job["timeout-minutes"]
        for step in job["steps"]:
            run = step.get("run", "")
            assert len(run.strip().splitlines()) <= 3
            assert "${{" not in run, "what a stranger can write goes through env"
            if "uses" in step:
                assert re.search(r"@[0-9a-f]{40}$", step["uses"])
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_code_of_a_proposal_never_runs_beside_a_secret_or_a_right_to_write() -> None:
    for path in WORKFLOWS:
        flow = yaml.safe_load(path.read_text())
        if "pull_request" not in flow[True]:  # YAML reads `on` as true
            continue
        assert "secrets." not in path.read_text()
        for job in flow["jobs"].values():
            assert set(job["permissions"].values()) <= {"read"}


def test_the_right_to_sign_never_stands_beside_a_secret() -> None:
    signing = []
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            if "id-token" in job["permissions"]:
                signing.append(job["name"])
                assert "secrets." not in str(job) and "environment" not in job
    assert signing == ["attest"]


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
    assert secrets.found(f"['remote \"storage\"']\n    {line}\n")


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
    assert not secrets.found(f"['remote \"storage\"']\n    {line}\n")


def test_event_of_make_act_has_what_train_reads() -> None:
    pull = act.event("b" * 40, "a" * 40, "try")["pull_request"]
    assert isinstance(pull, dict)
    assert pull["head"]["sha"] == "a" * 40 and pull["base"]["sha"] == "b" * 40
