"""What the workflow `update` says of the template, and proposes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery.world import World, git, world
from mlgitops import git as git_module
from mlgitops import github
from mlgitops.commands import changelog, update
from mlgitops.commands.selftest import FENCE, SelftestError

ADDRESS = "https://example.com/template"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository that plain cookiecutter made from a small template."""
    with world(tmp_path, monkeypatch) as made:
        template = made.home / "template"
        git("init", "-q", "-b", "main", str(template))
        move_on(made, "1")
        for part in update.PARTS:
            copy(template / update.PROJECT / part, Path(part))
        Path("pyproject.toml").write_text(f'[tool.mlgitops]\ntemplate = "{ADDRESS}"\n')
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")  # the address leads to the folder
        monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{template}.insteadOf")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", ADDRESS)
        made.commit("generated")
        git("push", "-q", "origin", "HEAD:main", cwd=made.clone)
        yield made


def copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            file = target / path.relative_to(source)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(path.read_bytes())


def move_on(here: World, version: str) -> str:
    """Commit the next state of the template; return the commit."""
    template = here.home / "template"
    files = {
        f"{FENCE}/VERSION": f"{version}.0.0\n",
        f"{FENCE}/SHA256SUMS": f"{version}\n",
        f"{FENCE}/a.py": f"# {version}\n",
        f"{update.PROJECT}/.github/workflows/ci.yml": f"name: ci{version}\n",
        f"{update.PROJECT}/params.yaml": f"yours: {version}\n",
    }
    for name, text in files.items():
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text(text)
    with (template / "CHANGELOG.md").open("a") as log:
        log.write(f"\n## [{version}]\n\n- What is new in {version}.\n")
    git("add", "--all", cwd=template)
    git("commit", "-qm", version, cwd=template)
    return git("rev-parse", "HEAD", cwd=template)


def test_an_update_is_announced_once(here: World) -> None:
    assert "Up to date" in update.update()
    assert "issues" not in here.hub.kept
    newest = move_on(here, "2")
    for _ in range(2):
        assert "has moved on" in update.update()
    (issue,) = here.hub.kept["issues"]
    assert "make update" in issue["body"] and newest in issue["body"]
    assert "- What is new in 2." in issue["body"]
    assert "new in 1." not in issue["body"], "it is here already"


def test_a_declined_update_stays_closed_until_the_next(here: World) -> None:
    move_on(here, "2")
    update.update()
    (issue,) = here.hub.kept["issues"]
    issue["state"] = "closed"
    update.update()
    assert issue["state"] == "closed"
    move_on(here, "3")
    update.update()
    assert issue["state"] == "open"
    assert len(here.hub.kept["issues"]) == 1


def test_an_issue_with_the_marker_of_somebody_else_hides_no_update(here: World) -> None:
    newest = move_on(here, "2")
    body = f"{update.MARKER}\nThe newest commit is {newest}."
    here.hub.add("issues", {"body": body, "user": {"login": "mallory"}})
    for _ in range(2):
        assert "has moved on" in update.update()
    assert len(here.hub.kept["issues"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        "fatal: could not read Username for 'https://github.com'",
        "ERROR: Repository not found.",
        "git@github.com: Permission denied (publickey).",
    ],
)
def test_a_private_template_is_not_red_every_monday(
    here: World, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: str, **_: Any) -> str:
        raise git_module.GitError(f"git clone failed: {words}")

    monkeypatch.setattr(git_module, "run", refuse)
    assert "is private" in update.update()
    words = "Could not resolve host"
    with pytest.raises(SelftestError):
        update.update()


def test_a_template_in_a_folder_or_without_an_address_is_green(here: World) -> None:
    Path("pyproject.toml").write_text(f'[tool.mlgitops]\ntemplate = "{here.home}"\n')
    assert "is a folder" in update.update()
    Path("pyproject.toml").unlink()
    assert "not recorded" in update.update()


def pulls(here: World, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let GitHub list and close the pull requests that were opened."""
    made: list[dict[str, Any]] = []
    keep = here.hub.api

    def api(path: str, method: str = "GET", fields: Any = None, **more: Any) -> Any:
        if path == "pulls" and method == "POST":
            head = {"ref": fields["head"], "repo": {"full_name": "o/r"}}
            pull = {**fields, "number": len(made) + 1, "head": head, "state": "open"}
            made.append(pull | {"html_url": "u"})
            return made[-1]
        if path == "pulls":
            return made
        if path.startswith("pulls/") and method == "PATCH":
            made[int(path.split("/")[1]) - 1].update(fields)
            return {}
        return keep(path, method, fields, **more)

    monkeypatch.setattr(github, "api", api)
    return made


def test_it_is_proposed_once_as_one_commit_on_main(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the working tree; an older proposal makes room for the newer one."""
    made = pulls(here, monkeypatch)
    assert "Up to date" in update.propose()
    move_on(here, "2")
    Path("unfinished.txt").write_text("work")
    before = git("rev-parse", "HEAD")
    assert "opened #1" in update.propose()
    assert "already (open)" in update.propose()
    branch = made[0]["head"]["ref"]
    git("fetch", "-q", "origin", branch)
    assert git("rev-parse", "FETCH_HEAD~1") == git("rev-parse", "origin/main")
    changed = git("diff", "--name-only", "FETCH_HEAD~1", "FETCH_HEAD").split()
    assert changed == [
        ".github/workflows/ci.yml",
        *(f"mlgitops/{name}" for name in ("SHA256SUMS", "VERSION", "a.py")),
    ]
    assert "- What is new in 2." in made[0]["body"] and made[0]["base"] == "main"
    assert git("rev-parse", "HEAD") == before
    assert Path("unfinished.txt").read_text() == "work"
    assert len(git("worktree", "list").splitlines()) == 1
    move_on(here, "3")
    assert "opened #2" in update.propose()
    assert [pull["state"] for pull in made] == ["closed", "open"]
    made[1]["state"] = "closed"  # by a person
    assert "already (closed)" in update.propose()


def test_nothing_else_is_proposed_under_the_name_of_an_update(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a writer has pushed there before; but what an earlier run left is taken."""
    made, newest = pulls(here, monkeypatch), move_on(here, "2")
    branch = f"refs/heads/update/2.0.0-{newest[:12]}"
    other = git_module.commit({"mlgitops/a.py": b"theirs\n"}, "x", "x", "HEAD")
    git("push", "-q", "origin", f"{other}:{branch}")
    with pytest.raises(update.UpdateError, match="something else"):
        update.propose()
    assert made == []
    git("push", "-q", "origin", f":{branch}")
    opened = update._open
    monkeypatch.setattr(update, "_open", lambda *_: "the line broke")
    update.propose()
    monkeypatch.setattr(update, "_open", opened)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2031-01-01T00:00:00Z")  # a week later
    assert "opened #1" in update.propose()


def test_a_conflict_is_proposed_by_nobody(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pulls(here, monkeypatch)
    Path("mlgitops/a.py").write_text("# ours\n")
    here.commit("ours")
    git("push", "-q", "origin", "HEAD:main", cwd=here.clone)
    move_on(here, "2")
    monkeypatch.setattr("sys.argv", ["update", "--propose"])
    with pytest.raises(SystemExit, match="mlgitops/a.py: type `make update`"):
        update.main()
    assert made == [] and len(git("worktree", "list").splitlines()) == 1


def test_what_is_not_the_templates_is_never_changed(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lock: a commit that holds more than the fence is taken back."""
    move_on(here, "2")
    template = here.home / "template"
    bring = update.bring

    def more(newer: update.Newer, clone: Path) -> str:
        picked = bring(newer, clone)
        foreign = {"more.yaml": b"theirs\n"}
        return git_module.commit(foreign, "more", "x", picked)

    before, branch = git("rev-parse", "HEAD"), git("branch", "--show-current")
    monkeypatch.setattr(update, "bring", more)
    with pytest.raises(git_module.GitError, match=r"more\.yaml"):
        update.apply(str(template))
    assert git("rev-parse", "HEAD") == before
    assert git("branch", "--show-current") == branch
    assert "update/" not in git("branch")


@pytest.mark.parametrize("detached", [False, True])
def test_a_commit_that_cannot_be_made_leaves_all_as_it_was(
    here: World, detached: bool
) -> None:
    """Such as one that nobody can sign; the reason is git's."""
    move_on(here, "2")
    git("config", "commit.gpgsign", "true")
    git("config", "gpg.program", "false")
    if detached:
        git("switch", "-q", "--detach")
    before, branch = git("rev-parse", "HEAD"), git("branch", "--show-current")
    with pytest.raises(git_module.GitError, match="sign"):
        update.apply(str(here.home / "template"))
    assert git("rev-parse", "HEAD") == before
    assert git("branch", "--show-current") == branch
    assert "update/" not in git("branch") and git("status", "--porcelain") == ""
    assert not Path(".git/CHERRY_PICK_HEAD").exists()


def test_a_login_of_the_template_is_not_in_the_commit(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pushed, and an issue is read by more people than may read the template."""
    address = "https://me:hidden@example.com/template"
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", address)
    move_on(here, "2")
    update.apply(address)
    message = git("log", "-1", "--format=%B")
    assert "https://***@example.com/template" in message and "hidden" not in message


def test_a_broken_link_of_cruft_is_not_needed(here: World) -> None:
    newest = move_on(here, "2")
    link = {"template": ADDRESS, "commit": "0" * 40}
    Path(".cruft.json").write_text(json.dumps(link))
    here.commit("linked")
    assert "as one commit" in update.apply()
    assert json.loads(Path(".cruft.json").read_text())["commit"] == newest


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_link_that_nobody_can_read_stays(here: World, text: str) -> None:
    move_on(here, "2")
    Path(".cruft.json").write_text(text)
    here.commit("torn")
    assert "as one commit" in update.apply(ADDRESS)
    assert Path(".cruft.json").read_text() == text


@pytest.fixture
def before_the_fence(here: World) -> str:
    """Give the template an older state without `mlgitops/`; return its commit."""
    template = here.home / "template"
    git("switch", "-q", "--orphan", "old", cwd=template)
    file = template / update.PROJECT / ".github/workflows/ci.yml"
    file.parent.mkdir(parents=True)
    file.write_text("name: old\n")
    git("add", "--all", cwd=template)
    git("commit", "-qm", "before the fence", cwd=template)
    commit = git("rev-parse", "HEAD", cwd=template)
    git("switch", "-q", "main", cwd=template)
    return commit


@pytest.mark.parametrize("base", [False, True])
def test_a_repository_from_before_the_fence_is_told_what_to_do(
    here: World, before_the_fence: str, base: bool
) -> None:
    """Its own code is where the old machinery is: nothing that an update may touch."""
    git("rm", "-rq", "mlgitops")
    here.commit("as it was before the fence")
    before, address = git("rev-parse", "HEAD"), str(here.home / "template")
    with pytest.raises(update.UpdateError, match=r"docs/update\.md"):
        update.apply(address, before_the_fence if base else "")
    assert git("rev-parse", "HEAD") == before and git("status", "--porcelain") == ""
    assert "update/" not in git("branch")


@pytest.mark.parametrize("role", ["base", "to"])
def test_a_state_of_the_template_before_the_fence_is_refused(
    here: World, before_the_fence: str, role: str
) -> None:
    move_on(here, "2")
    address = str(here.home / "template")
    with pytest.raises(SelftestError, match="later commit"):
        update.apply(address, **{role: before_the_fence})
    assert "as one commit" in update.apply(address), "the control"


def test_only_what_is_new_in_the_changelog_is_told() -> None:
    before = "# Log\n\n## [2]\n\n### Added\n\n- One\n  more.\n- Two.\n"
    after = before.replace("- Two.", "- Two.\n- Three\n  lines.").replace(
        "## [2]", "## [3]\n\n- Four.\n\n## [2]"
    )
    assert changelog.newer(before, after) == (
        "## [3]\n\n- Four.\n\n## [2]\n### Added\n\n- Three\n  lines."
    )
    assert changelog.newer(after, after) == ""
    assert changelog.newer("", "no list\n") == ""
