"""What one environment compiled, the next has; what belongs to other code, none."""

import os
import py_compile
from pathlib import Path

import pytest

import bytecode

INFO = "demo-1.0.dist-info"


def package(folder: Path, text: str = "x = 1\n") -> Path:
    """Write a package of one module as uv unpacks it; return the module."""
    (folder / INFO).mkdir(parents=True)
    (folder / INFO / "RECORD").write_text("demo.py,sha256=0,6\nother.py,,\n")
    module = folder / "demo.py"
    module.write_text(text)
    return module


@pytest.mark.parametrize("linked", [True, False])
def test_bytecode_is_kept_beside_the_file_that_it_is_of(
    linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if the environment has that very file; the user's cache is only read."""
    theirs, ours = tmp_path / "theirs", tmp_path / "cache" / "uv"
    source = package(theirs / "archive-v0" / "a")
    (theirs / "wheel").symlink_to("archive-v0/a")
    monkeypatch.setenv("UV_CACHE_DIR", str(theirs))
    bytecode.use(ours)
    assert os.environ["UV_CACHE_DIR"] == str(ours)
    assert (ours / "wheel" / "demo.py").samefile(source)
    module = tmp_path / "env" / "lib" / "python3.11" / "site-packages" / "demo.py"
    package(module.parent)
    if linked:
        module.unlink()
        os.link(source, module)
    py_compile.compile(str(module), str(bytecode.compiled(module)))
    assert bytecode.keep(tmp_path / "env", ours) == linked
    kept = bytecode.compiled(ours / "archive-v0" / "a" / "demo.py")
    assert kept.exists() == linked and not (source.parent / "__pycache__").exists()
