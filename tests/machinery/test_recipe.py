"""A recipe is all that decides what the stages build, and nothing else."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from mlgitops import recipe
from mlgitops.lock import LockError

POINTER = "outs:\n- md5: {md5}\n  size: 3\n  hash: md5\n  path: {name}.parquet\n"
STAGES = {
    "prepare": {
        "desc": "Split the rows",
        "cmd": "python prepare.py",
        "deps": ["data/rows.parquet", "model/prepare.py", "lib"],
        "params": ["prepare", "train.seed"],
        "outs": ["build/train.parquet"],
    },
    "train": {
        "cmd": "python train.py",
        "deps": ["build/train.parquet", "model/train.py"],
        "params": ["train", {"other.yaml": ["a"]}],
        "outs": [{"build/model.onnx": {"cache": True}}],
    },
}
LINES = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))
BOMB = "\n".join(["a0: &a0 [x, x]", *LINES])  # 2 * 10 ** 9 values, in a few lines
PARAMS = {
    "prepare": {"days": 14},
    "train": {"seed": 1, 3: "three"},
    "gates": {"min": 0.6},
}


class Repository:
    """A repository whose files are changed and committed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.git("init", "-q", "-b", "main")
        self.write("dvc.yaml", yaml.safe_dump({"stages": STAGES}))
        self.write("params.yaml", yaml.safe_dump(PARAMS))
        for name in ("model/prepare.py", "model/train.py", "lib/a.py", "README.md"):
            self.write(name, name)
        self.write("other.yaml", "a: 1\n")
        self.write("data/rows.parquet.dvc", POINTER.format(name="rows", md5="a" * 32))
        self.write(
            "data/unread.parquet.dvc", POINTER.format(name="unread", md5="b" * 32)
        )

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        file = self.home / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def git(self, *args: str) -> str:
        """Run git as a person with a name."""
        who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        command = ("git", *who, *args)
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(
            command, cwd=self.home, check=True, capture_output=True, text=True, env=env
        )
        return done.stdout.strip()

    def recipe(self) -> str:
        """Commit everything and return the recipe of the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return recipe.at("HEAD", self.home)

    def stage(self, name: str, **changes: object) -> None:
        """Change a stage of dvc.yaml."""
        stages = {**STAGES, name: {**STAGES[name], **changes}}
        self.write("dvc.yaml", yaml.safe_dump({"stages": stages}))


@pytest.fixture
def here(tmp_path: Path) -> Repository:
    """Return a repository of the test's own."""
    return Repository(tmp_path)


CHANGES = {
    "code": lambda r: r.write("model/train.py", "other"),
    "code in a folder": lambda r: r.write("lib/b.py", "new"),
    "data": lambda r: r.write(
        "data/rows.parquet.dvc", POINTER.format(name="rows", md5="c" * 32)
    ),
    "a value": lambda r: r.write(
        "params.yaml", yaml.safe_dump({**PARAMS, "prepare": {"days": 15}})
    ),
    "another params file": lambda r: r.write("other.yaml", "a: 2\n"),
    "a command": lambda r: r.stage("train", cmd="python train.py --more"),
    "a dependency": lambda r: r.stage("train", deps=["build/train.parquet"]),
    "an output": lambda r: r.stage("train", outs=["build/model.bin"]),
    "a removed file": lambda r: (r.home / "model/train.py").unlink(),
}
NO_CHANGES = {
    "nothing": lambda r: None,
    "words": lambda r: r.write("README.md", "more"),
    "a lock": lambda r: r.write("dvc.lock", "stages: {}\n"),
    "a gate": lambda r: r.write(
        "params.yaml", yaml.safe_dump({**PARAMS, "gates": {"min": 0.7}})
    ),
    "a comment": lambda r: r.write("params.yaml", f"# why\n{yaml.safe_dump(PARAMS)}"),
    "a description": lambda r: r.stage("train", desc="Fit"),
    "data that nobody reads": lambda r: r.write(
        "data/unread.parquet.dvc", POINTER.format(name="unread", md5="c" * 32)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_decides_the_model_changes_it(here: Repository, change: object) -> None:
    before = here.recipe()
    change(here)  # type: ignore[operator]
    assert here.recipe() != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_nothing_else_does(here: Repository, change: object) -> None:
    before = here.recipe()
    change(here)  # type: ignore[operator]
    assert here.recipe() == before


@pytest.mark.parametrize("path", ["./model/train.py", "lib/", "./lib"])
def test_a_path_may_be_written_otherwise(here: Repository, path: str) -> None:
    here.stage("train", deps=[path])
    before = here.recipe()
    here.write("model/train.py", "other")
    here.write("lib/a.py", "other")
    assert here.recipe() != before


def test_a_tree_has_the_recipe_of_its_commit(here: Repository) -> None:
    """The judge asks for the tree that a merge would have."""
    before = here.recipe()
    assert recipe.at(here.git("rev-parse", "HEAD^{tree}"), here.home) == before


def test_a_template_stands_for_anything(here: Repository) -> None:
    """Then every file counts, but not the lock."""
    here.stage("train", cmd="python train.py ${train.seed}")
    before = here.recipe()
    here.write("dvc.lock", "stages: {}\n")
    assert here.recipe() == before
    here.write("README.md", "more")
    assert here.recipe() != before


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dvc.yaml", "stages: ["),
        ("dvc.yaml", "stages: 3"),
        ("dvc.yaml", "[]"),
        ("dvc.yaml", "stages: {a: 3}"),
        ("dvc.yaml", "stages: {a: {cmd: x, params: prepare}}"),
        ("dvc.yaml", "stages: {a: {cmd: x, deps: 3}}"),
        ("dvc.yaml", "stages: {a: &a {cmd: [*a]}}"),
        ("dvc.yaml", f"{BOMB}\nstages: {{a: {{cmd: *a9}}}}"),
        ("params.yaml", "prepare: ["),
        ("params.yaml", "[]"),
    ],
)
def test_what_is_not_valid_is_one_sentence(
    here: Repository, path: str, text: str
) -> None:
    here.write(path, text)
    with pytest.raises(LockError):
        here.recipe()


def test_without_stages_there_is_a_recipe_too(here: Repository) -> None:
    """A repository before its first stage is not an error."""
    (here.home / "dvc.yaml").unlink()
    assert here.recipe()
