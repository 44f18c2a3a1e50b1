"""`train` builds what a proposal describes, whatever it committed."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from machinery import process_group, warm
from machinery.judged import Project, Record, git, new, rows
from mlgitops import github, lock, recipe
from mlgitops.commands import build
from mlgitops.ledger import Ledger, lock_path

FORK = {"full_name": "eve/r", "clone_url": "https://github.com/eve/r.git"}


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project without a model; nobody changes this one."""
    return new(tmp_path_factory.mktemp("origin"))


@pytest.fixture
def project(
    origin: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """The same in a folder of the test's own."""
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "GH_"))]:
        monkeypatch.delenv(name)
    return origin.copy(tmp_path / "home")


MAIN = {"ref": "main", "repo": {"default_branch": "main"}}
BUILT, PLANTED = b"stages: {}\n", b"stages: {a: {outs: []}}\n"


def judged(project: Project, **changes: object) -> str:
    """Let the ledger hold what CI built for main's recipe; return the manifest."""
    ledger, sha256 = Ledger(project.clone), hashlib.sha256(BUILT).hexdigest()
    record: Record = {
        "manifest_sha256": "a" * 64,
        "recipe": recipe.at("HEAD", project.clone),
        "lock_sha256": sha256,
        "passed": True,
        "pull_request": 1,
        "head_sha": "c" * 40,
        "seq": ledger.seq,
        **changes,
    }
    name = f"verdicts/{record['manifest_sha256']}/{ledger.seq:08d}-1.json"
    kept = {} if ledger.paths("locks/") else {lock_path(sha256): BUILT}
    ledger.append({name: record, **kept}, "verdict")
    return str(record["manifest_sha256"])


def started(project: Project, patch: pytest.MonkeyPatch, number: int) -> bool | None:
    """Say of a pull request's first lock whether it is restored; None without one."""
    patch.chdir(project.checkout("runner"))
    Path("dvc.lock").write_bytes(PLANTED)
    git("add", "dvc.lock")
    git("commit", "-qm", "a planted lock")
    start, restored = build.first_lock(number)
    if start is None:
        assert not restored and not Path("dvc.lock").exists()
        return None
    assert Path("dvc.lock").read_bytes() == BUILT
    assert start.sha256 == hashlib.sha256(BUILT).hexdigest()
    return restored


def test_it_starts_from_the_champions_lock_whatever_was_committed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that somebody planted is not believed."""
    manifest = judged(project, recipe="0" * 64)
    project.release(manifest, git("rev-parse", "HEAD", cwd=project.clone))
    assert started(project, monkeypatch, 2) is False


def test_without_a_version_every_stage_is_built(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert started(project, monkeypatch, 1) is None


def test_a_version_is_restored_by_its_recipe(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever pull request describes it again, such as one of words, or a revert."""
    manifest = judged(project)
    project.release(manifest, git("rev-parse", "HEAD", cwd=project.clone))
    assert started(project, monkeypatch, 2) is True


def test_what_was_built_for_another_pull_request_is_not_restored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can propose the same and upload what they like: only the own is."""
    judged(project, pull_request=2)
    open_ = {"merged": False, "head": {"sha": "c" * 40}, "base": MAIN}
    monkeypatch.setattr(github, "api", {"pulls/2": open_}.__getitem__)
    assert started(project, monkeypatch, 3) is None
    assert started(project, monkeypatch, 2) is True
    judged(project, pull_request=2, passed=False)
    assert started(project, monkeypatch, 2) is None, "the newest refuses it"


def test_what_was_merged_is_restored_before_it_is_released(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waits for its deployment, a proposal of words brings no other model."""
    judged(project, pull_request=2, head_sha="c" * 40)
    pull = {"merged": True, "head": {"sha": "c" * 40}, "base": MAIN}
    monkeypatch.setattr(github, "api", {"pulls/2": pull}.__getitem__)
    assert started(project, monkeypatch, 3) is True
    pull["head"] = {"sha": "d" * 40}
    assert started(project, monkeypatch, 3) is None, "merged, but another commit"


def test_nothing_runs_where_a_build_is_restored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a stage that DVC runs always: its other bytes would be refused."""
    judged(project, pull_request=2)
    monkeypatch.chdir(project.checkout("runner"))
    monkeypatch.setattr(build, "reproduce", lambda: ["train"])
    monkeypatch.setattr(build.storage, "pull", lambda outs: [])
    facts = build.build("HEAD", 2)
    assert (facts["restored"], facts["stages_run"]) == (True, [])
    judged(project, pull_request=2, passed=False)
    monkeypatch.setattr(build.lock, "read", lambda: lock.parse(BUILT))
    facts = build.build("HEAD", 2)
    assert (facts["restored"], facts["stages_run"]) == (False, ["train"])


def test_a_planted_link_is_not_followed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a committed dvc.lock read where it is a link to another file."""
    manifest = judged(project)
    project.release(manifest, git("rev-parse", "HEAD", cwd=project.clone))
    monkeypatch.chdir(project.checkout("runner"))
    before = Path("params.yaml").read_bytes()
    Path("dvc.lock").symlink_to("params.yaml")
    build.first_lock(2)
    assert Path("params.yaml").read_bytes() == before
    assert Path("dvc.lock").read_bytes() == BUILT


def test_a_proposal_cannot_redirect_storage(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project.checkout("runner"))
    config = Path(".dvc", "config")
    mains = config.read_bytes()
    build.use_storage_of("HEAD")
    assert capsys.readouterr().out == ""
    config.write_text("['remote \"storage\"']\nurl = s3://evil\n")
    build.use_storage_of("HEAD")
    assert config.read_bytes() == mains
    assert "building with main's instead" in capsys.readouterr().out


def test_only_data_that_a_stage_reads_is_pulled(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.checkout("runner"))
    shutil.copy("data/flights.parquet.dvc", "data/later.parquet.dvc")
    pointer = Path("data/later.parquet.dvc")
    pointer.write_text(pointer.read_text().replace("flights", "later"))
    assert set(lock.pointers()) == {"data/flights.parquet", "data/later.parquet"}
    assert [out.path for out in lock.inputs()] == ["data/flights.parquet"]


def test_stages_see_no_token_and_a_failure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "ACTIONS_RUNTIME_TOKEN"):
        monkeypatch.setenv(name, "secret")
    git("init", "-q")
    git("-c", "core.hooksPath=", "commit", "-q", "--allow-empty", "-m", "x")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").touch()
    show = f"{sys.executable} -c 'import os; print(sorted(os.environ.values()))'"
    stages = {"show": {"cmd": [show, "exit 3"]}}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(SystemExit, match="`dvc repro` failed"):
        build.reproduce()
    printed = capfd.readouterr().out
    assert "/bin" in printed and "'secret'" not in printed


def test_data_that_was_not_pushed_is_named_with_its_command(project: Project) -> None:
    """F2: the pointer is committed, the object is nowhere."""
    project.data(rows(seed=1), push=False)
    pull = project.propose("unpushed")
    done = project.train(pull)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "data/flights.parquet" in done.stderr and "make push" in done.stderr
    assert "fork" not in done.stderr


def test_a_fork_is_told_who_has_to_push(project: Project) -> None:
    project.data(rows(seed=1), push=False)
    pull = project.propose("fork")
    pull["head"]["repo"] = FORK
    done = project.train(pull)
    assert done.returncode == 1 and "a maintainer must push the data" in done.stderr


def test_the_base_is_the_first_parent_of_the_merge(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event's base may be older than what the merge was made with."""
    pull = project.propose("words")
    git("switch", "-q", "main", cwd=project.clone)
    main = project.commit("main moves on")
    git("push", "-q", "origin", "main", cwd=project.clone)
    monkeypatch.chdir(project.checkout("runner", pull["head"]["sha"]))
    found = build.commits({"pull_request": pull})
    assert found["base_sha"] == main != pull["base"]["sha"]
    assert found["head_sha"] == pull["head"]["sha"]
    assert re.fullmatch("[0-9a-f]{40}", found["merge_sha"])


def test_outside_of_a_pull_request_it_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(github, "event", dict)
    with pytest.raises(SystemExit, match="make repro"):
        build.main()


def killed(project: Project, pull: Record) -> str:
    """Let the program of `train` die as it begins to fit; return what is left."""
    event = project.home / "event.json"
    event.write_text(json.dumps({"pull_request": pull}))
    runner = project.checkout("runner", pull["head"]["sha"])
    programs = os.pathsep.join([str(Path(warm.COLD).parent), os.environ["PATH"]])
    with subprocess.Popen(
        (warm.COLD, "-m", "mlgitops", "build"),
        cwd=runner,
        env={**os.environ, "PATH": programs, "GITHUB_EVENT_PATH": str(event)},
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as build:
        assert any("Running stage 'train'" in line for line in build.stdout or ())
        os.killpg(build.pid, signal.SIGKILL)
    process_group.gone(build.pid)
    return (runner / "dvc.lock").read_text()


@pytest.mark.slow
def test_two_builds_of_one_proposal_give_the_same_bytes(project: Project) -> None:
    """Also where an earlier one died between two stages, on a runner that keeps files.

    It is built from its first stage: what lies there may be another proposal's.
    """
    pull = project.propose("twice")
    artifact = project.home / "runner" / "artifact"
    left = killed(project, pull)
    assert "prepare:" in left and "train:" not in left
    seen = []
    for clean in (False, True):
        done = project.train(pull, clean=clean)
        assert done.returncode == 0, done.stdout + done.stderr
        files = {p.name: p.read_bytes() for p in artifact.iterdir()}
        facts = json.loads(files.pop("build.json"))
        assert facts["stages_run"] == ["prepare", "train", "evaluate"]
        assert facts["built_lock_sha256"] == lock.parse(files["dvc.lock"]).sha256
        seen.append(files)
    assert seen[0] == seen[1]
