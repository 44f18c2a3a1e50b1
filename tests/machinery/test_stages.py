"""A stage of a build sees the data that it names, and no other; the bytes are those
that `dvc repro` gives.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from machinery import warm
from machinery.judged import first, git, new
from machinery.planted import edit
from mlgitops import lock, machine, stages, storage

SEEN = (
    "import pathlib as p; seen = sorted(map(str, p.Path().glob('d*/[!.]*'))); "
    "p.Path('{}').write_text(str(seen))"
)


def stage(deps: list[str], out: str) -> dict[str, object]:
    """Return a stage that writes which files of the folders d* it sees."""
    command = f'"{sys.executable}" -c "{SEEN.format(out)}"'
    return {"cmd": command, "deps": deps, "outs": [out]}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a tracked table and three stages, the last one first."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    for folder in (".dvc", "data", "d"):
        Path(folder).mkdir()
    Path(".dvc/config").touch()
    Path("data/raw").write_text("the raw table")
    md5 = "4d1d1a3c2a3b1c0d4d1d1a3c2a3b1c0d"
    entry = {"md5": md5, "size": 13, "hash": "md5", "path": "raw"}
    Path("data/raw.dvc").write_text(yaml.safe_dump({"outs": [entry]}))
    named = {
        "score": stage(["d/model", "d/holdout"], "d/metrics"),
        "train": stage(["d/train"], "d/model"),
        "prepare": stage(["data/raw"], "d/train"),
    }
    reads = "timeout 9 cat > d/holdout"  # what DVC is asked next is not its stdin
    also = f"{reads} && printf 'no text: \\377, no end of a line'"
    named["prepare"]["cmd"] = [named["prepare"]["cmd"], also]
    named["prepare"]["outs"] = ["d/train", {"d/holdout": {"cache": False}}]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": named}, sort_keys=False))
    return tmp_path


def test_each_stage_sees_the_data_that_it_names(tree: Path) -> None:
    ran = stages.reproduce(machine.environment(DVC_SITE_CACHE_DIR=str(tree / "site")))
    assert ran == ["prepare", "train", "score"]
    assert Path("d/train").read_text() == "['data/raw', 'data/raw.dvc']"
    assert Path("d/model").read_text() == "['d/train', 'data/raw.dvc']"
    seen = Path("d/metrics").read_text()
    assert seen == "['d/holdout', 'd/model', 'data/raw.dvc']"
    assert Path("data/raw").read_text() == "the raw table"
    assert not list(Path(".dvc").glob("cache/**/*")), "what it wrote is nowhere else"


def test_files_come_back_whatever_happens(tree: Path) -> None:
    paths = [Path("data/raw"), Path("d/none")]
    with pytest.raises(KeyError), stages.hidden(paths) as names:
        assert names == "data/raw" and not Path("data/raw").exists()
        Path("data/raw").symlink_to(tree / "elsewhere")
        raise KeyError
    assert Path("data/raw").read_text() == "the raw table"
    assert not Path("data/raw").is_symlink() and not Path("elsewhere").exists()


@pytest.mark.parametrize("command", ["cat data/raw", "kill -9 $PPID"])
def test_what_was_out_of_reach_is_said_where_a_stage_fails(
    command: str, tree: Path
) -> None:
    """Also where it ends the process of DVC that waits for it."""
    file = Path("dvc.yaml")
    named = yaml.safe_load(file.read_text())["stages"]
    named["train"]["cmd"] = command
    file.write_text(yaml.safe_dump({"stages": named}))
    env = machine.environment(DVC_SITE_CACHE_DIR=str(tree / "site"))
    with pytest.raises(stages.StageError, match=r"train sees only .*data/raw"):
        stages.reproduce(env)
    assert Path("data/raw").exists()


def test_stages_that_wait_for_each_other_are_named() -> None:
    loop = [lock.Stage("a", ("x",), ("y",)), lock.Stage("b", ("y",), ("x",))]
    with pytest.raises(stages.StageError, match="a and b"):
        stages.order(loop)


@pytest.mark.parametrize(
    "change",
    [{"foreach": [1]}, {"matrix": {"x": [1]}}, {"wdir": "d"}, {"deps": ["${raw}"]}],
)
def test_a_template_is_seen(change: dict[str, object], tree: Path) -> None:
    """Its paths are not known here, so nothing is taken away from it."""
    assert all(stage.plain for stage in lock.stages())
    named = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    named["train"] |= change
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": named}))
    assert [s.name for s in lock.stages() if not s.plain] == ["train"]


@pytest.mark.slow
def test_code_that_reads_the_raw_table_while_it_fits_is_not_built(
    tmp_path: Path,
) -> None:
    """Red before: it fitted on the holdout, and the build passed."""
    project = new(tmp_path / "home")
    edit(
        "model/features.py",
        "    names = contract.kind(",
        "    import pandas as pd\n\n"
        '    pd.read_parquet("data/flights.parquet")\n    names = contract.kind(',
    )(project)
    done = project.train(project.propose("reads"))
    assert done.returncode == 1 and "data/flights.parquet" in done.stderr
    assert "sees only its deps" in done.stderr


@pytest.mark.slow
def test_the_bytes_are_those_of_dvc_repro(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a laptop nothing is hidden, and the lock is the same."""
    made, pull, _ = first()
    project = made.copy(tmp_path / "home")
    built = (project.home / "runner" / "dvc.lock").read_bytes()
    monkeypatch.chdir(project.checkout("laptop", pull["head"]["sha"]))
    storage.pull(lock.inputs())
    env = {**os.environ, "PATH": warm.path(os.environ["PATH"])}
    subprocess.run((sys.executable, "-m", "dvc", "repro", "-q"), env=env, check=True)
    assert Path("dvc.lock").read_bytes() == built
