"""A recipe is all that decides what the stages build, and nothing else."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from mlgitops import git, lock, recipe
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
PINNED = "367a8724d26ba8674a69214bd3d8daecccf9125afb999223c634b0ec1002b613"
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

    def link(self, path: str, target: str) -> None:
        """Put a symbolic link in a file's place."""
        (self.home / path).unlink(missing_ok=True)
        (self.home / path).symlink_to(target)

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
    "how git writes files": lambda r: r.write(".gitattributes", "*.py ident\n"),
    "a file's kind": lambda r: r.link("lib/a.py", "lib/a.py"),
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


def linked(here: Repository) -> None:
    """Let a stage read a file that is a link, to one that no stage names."""
    here.write("shared/rate.txt", "1")
    here.link("model/rate.txt", "../shared/rate.txt")
    here.stage("train", deps=["build/train.parquet", "model/rate.txt"])


def linked_folder(here: Repository) -> None:
    """Let a stage read through a folder that is a link."""
    here.write("shared/rate.txt", "1")
    here.link("rates", "shared")
    here.stage("train", deps=["build/train.parquet", "rates/rate.txt"])


def linked_in_folder(here: Repository) -> None:
    """Let a stage read a folder that has a link in it."""
    here.write("shared/rate.txt", "1")
    here.link("lib/rate.txt", "../shared/rate.txt")


def indirect(here: Repository) -> None:
    """Let a stage name a path with a detour."""
    here.write("shared/rate.txt", "1")
    here.stage("train", deps=["build/train.parquet", "model/../shared/rate.txt"])


@pytest.mark.parametrize("way", [linked, linked_folder, linked_in_folder, indirect])
def test_what_a_path_leads_to_counts(here: Repository, way: object) -> None:
    """DVC and Python follow a link, and git has only its text."""
    way(here)  # type: ignore[operator]
    before = here.recipe()
    assert here.recipe() == before
    here.write("shared/rate.txt", "2")
    assert here.recipe() != before


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("train.rates.0", "{rates: [1, 2]}", "{rates: [3, 2]}"),
        ("train.3", "{3: a}", "{3: b}"),
        ("train.*", "{only: a}", "{only: b}"),
        ("train.seed", "{seed: 8}", "{seed: 010}"),
        ("train.seed", "{seed: true}", "{seed: yes}"),
        ("train.seed", "{seed: 1e-3}", "{seed: '1e-3'}"),
    ],
)
def test_a_value_counts_as_any_reader_finds_it(
    here: Repository, key: str, before: str, after: str
) -> None:
    """DVC looks into lists, and takes YAML 1.2, where 010 is ten and yes a word."""
    here.stage("train", params=[key])
    here.write("params.yaml", f"prepare: {{days: 14}}\ntrain: {before}\n")
    first = here.recipe()
    here.write("params.yaml", f"prepare: {{days: 14}}\ntrain: {after}\n")
    assert here.recipe() != first


@pytest.mark.parametrize("path", ["https://host/rates.csv", "/etc/rates", "../rates"])
def test_what_git_cannot_hold_is_refused(here: Repository, path: str) -> None:
    """It may be another file tomorrow, and no recipe would tell."""
    here.stage("train", deps=["build/train.parquet", path])
    with pytest.raises(LockError, match="in this repository: copy it into data/"):
        here.recipe()
    here.stage("train", params=[{path: ["a"]}])
    with pytest.raises(LockError, match="is not in this repository"):
        here.recipe()


def test_a_folder_of_outputs_has_nothing_in_git(here: Repository) -> None:
    """What one stage reads of another follows from the rest: words change nothing."""
    here.stage("train", deps=["build", "model/train.py"])
    before = here.recipe()
    here.write("README.md", "more")
    assert here.recipe() == before
    here.stage("train", deps=["./build/train.parquet", "model/train.py"])
    before = here.recipe()
    here.write("README.md", "still more")
    assert here.recipe() == before


def test_a_name_may_have_any_letters(here: Repository) -> None:
    here.stage("train", deps=["build/train.parquet", "data/gr\u00f6\u00dfe.parquet"])
    pointer = POINTER.format(name="gr\u00f6\u00dfe", md5="a" * 32)
    here.write("data/gr\u00f6\u00dfe.parquet.dvc", pointer)
    before = here.recipe()
    assert "data/gr\u00f6\u00dfe.parquet" in lock.pointers("HEAD", here.home)
    here.write("data/gr\u00f6\u00dfe.parquet.dvc", pointer.replace("a" * 32, "b" * 32))
    assert here.recipe() != before


def test_it_is_computed_as_ever(here: Repository) -> None:
    """Another way makes every verdict unknown: whoever updates the machinery to it has
    to propose once more what main has. So it is never changed by accident.
    """
    assert here.recipe() == PINNED


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


def test_a_commit_is_read_once(
    here: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command asks for it again and again; HEAD may mean another one by then."""
    first = here.recipe()
    commit = here.git("rev-parse", "HEAD")
    here.write("model/train.py", "other")
    assert here.recipe() != first
    for name in ("run", "show"):
        monkeypatch.setattr(git, name, None)
    assert recipe.at(commit, here.home) == first
