"""The machinery's types, and what it has for one target or one library only.

Its other tests: test_machinery.py, which takes as long as all that runs beside it.
"""

import re
from pathlib import Path

import pytest

from conftest import Bake
from machinery import lengths, postgres
from user import Project, machinery

pytestmark = pytest.mark.slow


def test_machinery_has_strict_types(generated: Project) -> None:
    """With the packages that it runs with; `model/` as shipped too."""
    config = ("--config-file", "mlgitops/pyproject.toml")
    assert "Success" in generated.run(".venv/bin/mypy", *config)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        # what a clean environment or a cold start shows, it shows in any repository
        ("edge", "(edge or bundle) and not (clean or cold)"),
        ("kubernetes", "kubernetes or cluster or image"),
    ],
)
def test_machinery_of_another_target(
    generated: Project, bake: Bake, template: Path, target: str, named: str
) -> None:
    """What only that target has is tried with the environment that is there."""
    made = bake(deploy_target=target)
    other = Project(made, made.parent)
    bin = generated.folder / ".venv" / "bin"
    other.env["PATH"] = f"{bin}:{other.env['PATH']}"
    # With files of that target in all three.
    files = (f"test_{target}.py", "test_handovers.py", "test_package.py")
    command = (f"{bin}/python", *machinery(template, *files), "-rs", "-k", named)
    said = other.run(*command)
    assert re.search(r"\d+ passed", said)
    assert not of_another_target(said)


def of_another_target(said: str) -> list[str]:
    """Return the lines of `-rs` about tests that take this for another target."""
    return re.findall(
        r"^SKIPPED .*: (?:another deploy target|this target .*)$", said, re.M
    )


def test_a_test_that_takes_this_for_another_target_is_seen(
    generated: Project, template: Path
) -> None:
    """The control: what is only for Kubernetes, where the target is a server."""
    command = (*machinery(template, "test_kubernetes.py"), "-rs")
    said = generated.run(".venv/bin/python", *command)
    assert of_another_target(said)


def beside(project: Project, lock: Path, venv: Path) -> str:
    """Return an interpreter that has a lock's packages beside the project's own."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    python = str(venv / "bin" / "python")
    project.run(
        ".venv/bin/uv", "venv", "--quiet", "--python", ".venv/bin/python", str(venv)
    )
    own = project.run(".venv/bin/python", "-c", where)
    Path(project.run(python, "-c", where).strip(), "beside.pth").write_text(own)
    uv = str(project.folder / ".venv" / "bin" / "uv")
    install = (uv, "pip", "install", "--quiet", "--require-hashes", "-r", str(lock))
    project.run(*install, "--python", python)
    return python


def test_machinery_with_the_optional_libraries(
    generated: Project, template: Path, tmp_path: Path
) -> None:
    """XGBoost, LightGBM and CatBoost, by a lock with hashes, beside what is there.

    All are installed together, exported each day, and one is tried by every test.
    """
    lock = template / "requirements" / "boosters.txt"
    python = beside(generated, lock, tmp_path / "venv")
    files = ("test_libraries.py", "test_estimators.py", "test_out_of_core.py")
    files = (*files, "test_large_life.py")
    refused = {"xgboost or XGB": 3, "lightgbm or LGBM": 5 + 3, "CatBoost": 1}
    libraries = list(refused)  # and how many of their arguments do not convert, or do
    names = lengths.turn(libraries)
    always = ["takes_every_setting", "out_of_core", "large_life"]
    named = ("-v", "-k", " or ".join([*names, *always]))
    said = generated.run(python, *machinery(template, *files), *named)
    others = len(libraries) - len(names)  # of each its one test of all settings
    count = 31 + 6 * len(names) + others + sum(refused[name] for name in names)
    assert re.search(rf"\b{count} passed", said)
    assert not re.search(r"\b\d+ skipped", said)


def test_machinery_with_clients_of_others(
    generated: Project, template: Path, tmp_path: Path
) -> None:
    """NVIDIA's Triton client asks, and schemathesis holds the server to its words."""
    lock = template / "requirements" / "clients.txt"
    python = beside(generated, lock, tmp_path / "venv")
    files = ("test_open_inference_client.py", "test_openapi_fuzz.py")
    said = generated.run(python, *machinery(template, *files), "-v")
    assert re.search(r"\b8 passed, 1 skipped", said)  # one contract is enough


def test_machinery_with_a_database(
    generated: Project, template: Path, tmp_path: Path
) -> None:
    """Rows out of a real PostgreSQL, by the driver that the machinery locks."""
    if why := postgres.missing():
        pytest.skip(why)
    lock = generated.folder / "mlgitops" / "requirements" / "database.txt"
    python = beside(generated, lock, tmp_path / "venv")
    said = generated.run(python, *machinery(template, "test_table_database.py"), "-v")
    assert re.search(r"\b32 passed, 1 skipped", said)  # memory: PROOF=1


def test_machinery_with_a_cluster(
    generated: Project, template: Path, tmp_path: Path
) -> None:
    """A scheduler and workers of Dask, by the lock that the machinery has for them."""
    lock = generated.folder / "mlgitops" / "requirements" / "dask.txt"
    python = beside(generated, lock, tmp_path / "venv")
    said = generated.run(python, *machinery(template, "test_cluster.py"), "-v")
    assert re.search(r"\b[1-9]\d* passed", said)
    assert not re.search(r"\b\d+ (skipped|failed|error)", said)
