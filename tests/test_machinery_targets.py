"""The machinery's types, and what it has for one target or one library only.

Its other tests: test_machinery.py, which takes as long as all that runs beside it.
"""

import re
from pathlib import Path

import pytest

from conftest import Bake
from user import Project, machinery

pytestmark = pytest.mark.slow


def test_machinery_has_strict_types(generated: Project) -> None:
    """With the packages that it runs with; `model/` as shipped too."""
    config = ("--config-file", "mlgitops/pyproject.toml")
    assert "Success" in generated.run(".venv/bin/mypy", *config)


@pytest.mark.parametrize(
    ("target", "named"),
    [("edge", "edge or bundle"), ("kubernetes", "kubernetes or cluster or image")],
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
    said = other.run(f"{bin}/python", *machinery(template, *files), "-v", "-k", named)
    assert re.search(r"\d+ passed", said)
    assert not re.search(rf"test_{target}\.py.* SKIPPED", said)


def beside(generated: Project, venv: Path, lock: Path) -> str:
    """Install a lock with hashes beside what is there; return the interpreter."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    python = str(venv / "bin" / "python")
    generated.run(
        ".venv/bin/uv", "venv", "--quiet", "--python", ".venv/bin/python", str(venv)
    )
    there = generated.run(".venv/bin/python", "-c", where)
    Path(generated.run(python, "-c", where).strip(), "beside.pth").write_text(there)
    uv = str(generated.folder / ".venv" / "bin" / "uv")
    install = (uv, "pip", "install", "--quiet", "--require-hashes", "-r", str(lock))
    generated.run(*install, "--python", python)
    return python


def test_machinery_with_the_optional_libraries(
    generated: Project, template: Path, tmp_path: Path
) -> None:
    """XGBoost, LightGBM and CatBoost, by a lock with hashes, beside what is there."""
    lock = template / "requirements" / "boosters.txt"
    python = beside(generated, tmp_path / "venv", lock)
    files = ("test_libraries.py", "test_estimators.py")
    named = "libraries or XGB or LGBM or CatBoost"
    said = generated.run(python, *machinery(template, *files), "-v", "-k", named)
    assert re.search(r"\b18 passed", said) and "SKIPPED" not in said


def test_machinery_with_schemathesis(
    generated: Project, template: Path, tmp_path: Path
) -> None:
    """The server does what its description says, by a lock of its own as well."""
    lock = template / "requirements" / "schemathesis.txt"
    python = beside(generated, tmp_path / "venv", lock)
    said = generated.run(python, *machinery(template, "test_openapi_fuzz.py"), "-v")
    assert re.search(r"\b3 passed", said)
