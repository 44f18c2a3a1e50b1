"""Each class of jobs has its runners; a proposal's code meets none that may write."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlgitops import github, registered_runners, runners
from mlgitops.commands import build
from mlgitops.registered_runners import Runner
from mlgitops.runners import RunnerError, demand_apart, own_labels, shared, weaknesses

GPU = '["self-hosted", "gpu"]'
INNER = '["self-hosted", "inner"]'


def runner(name: str, *labels: str, online: bool = True, ephemeral: bool = True) -> Any:
    """Return a registered runner, which has the label self-hosted, too."""
    return Runner(name, frozenset(("self-hosted", *labels)), online, ephemeral)


def found(one: str, other: str, *registered: Runner) -> list[str]:
    """Return by what jobs of `train` meet those that may write, by their labels."""
    labels = own_labels({"RUNNER_TRAIN": one, "RUNNER_TRUSTED": other})
    return list(shared(labels, registered))


def test_the_classes_are_those_of_the_workflows() -> None:
    used: dict[str, set[str]] = {}
    for path in Path(".github", "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            first = job.get("runs-on", "").partition("vars.")[2].partition(" ")[0]
            used.setdefault(first, set()).add(path.stem)
    used.pop("")  # of `deploy`, which calls the one for each environment
    used["RUNNER_TRUSTED"].remove("environment")  # which no one starts
    assert used == {
        name: set(jobs.split(", ")) for name, jobs in runners.CLASSES.items()
    }


def test_labels_are_a_list_in_any_case() -> None:
    assert own_labels({}) == own_labels({"RUNNER_TRAIN": "", "RUNNER": "x"}) == {}
    labels = own_labels(
        {"RUNNER_TRAIN": '["Self-Hosted", "GPU"]', "RUNNER_TRUSTED": GPU}
    )
    assert labels["RUNNER_TRAIN"] == labels["RUNNER_TRUSTED"] == {"self-hosted", "gpu"}


def test_runners_of_githubs_own_are_fresh() -> None:
    hosted = '["ubuntu-24.04-arm"]'
    assert found(hosted, hosted) == []
    assert own_labels({"RUNNER_TRAIN": '["self-hosted", "ubuntu-24.04"]'}), (
        "one of ours"
    )


@pytest.mark.parametrize("value", ["gpu", '"gpu"', "[]", "[1]", '[""]', "{}", "["])
def test_what_is_not_a_list_is_refused_with_what_to_type(value: str) -> None:
    with pytest.raises(RunnerError, match="gh variable set RUNNER_TRAIN") as error:
        own_labels({"RUNNER_TRAIN": value})
    *_, typed, _ = str(error.value).split("'")
    assert own_labels({"RUNNER_TRAIN": typed}), "as it says"


@pytest.mark.parametrize(
    ("one", "other"),
    [(GPU, GPU), (GPU, '["gpu"]'), ('["gpu"]', GPU), (GPU, '["GPU", "Self-Hosted"]')],
)
def test_a_runner_for_both_is_found_by_its_labels(one: str, other: str) -> None:
    (problem,) = found(one, other)
    assert "gpu" in problem and "gh variable delete RUNNER_TRUSTED" in problem


def test_a_runner_for_both_is_found_by_what_is_registered() -> None:
    apart = (runner("a", "gpu"), runner("b", "inner"))
    assert found(GPU, INNER, *apart) == [], "the control"
    (problem,) = found(GPU, INNER, *apart, runner("c", "gpu", "inner"))
    assert problem.startswith("the runner c takes")


def test_each_pair_of_classes_is_looked_at() -> None:
    labels = own_labels(dict.fromkeys(runners.CLASSES, GPU))
    assert len(list(shared(labels))) == len(runners.PROPOSED) * len(runners.TRUSTED)
    assert not list(shared(own_labels(dict.fromkeys(runners.PROPOSED, GPU))))


@pytest.mark.parametrize("variables", ["", "null", "{}", json.dumps({"URL": "x"})])
def test_where_no_runner_is_named_nothing_is_refused(variables: str) -> None:
    demand_apart(variables)


def test_a_proposal_is_not_built_where_the_judge_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(github, "event", lambda: {})
    monkeypatch.setattr(build, "commits", lambda _: {"pull_request": 1, "base_sha": ""})
    done: list[str] = []
    for name in ("check", "build", "pack"):
        monkeypatch.setattr(build, name, lambda *_, name=name: done.append(name) or {})
    variables = {"RUNNER_TRAIN": GPU, "RUNNER_TRUSTED": INNER}
    monkeypatch.setenv("VARIABLES", json.dumps(variables))
    build.main()
    assert done == ["check", "build", "pack"], "the control"
    monkeypatch.setenv("VARIABLES", json.dumps(variables | {"RUNNER_TRUSTED": GPU}))
    with pytest.raises(SystemExit, match="nothing of the proposal was built"):
        build.main()
    assert done == ["check", "build", "pack"]


def test_a_class_without_a_runner_or_with_one_that_is_kept_is_said() -> None:
    labels = own_labels({"RUNNER_TRAIN": GPU, "RUNNER_TRUSTED": INNER})
    fresh = [runner("a", "gpu"), runner("b", "inner")]
    assert list(weaknesses(labels, fresh)) == []
    absent, other = weaknesses(labels, [])
    assert absent.startswith("RUNNER_TRAIN: a runner with the labels gpu, self-hosted")
    assert "not registered" in absent and other.startswith("RUNNER_TRUSTED")
    (offline,) = weaknesses(labels, [fresh[0], runner("b", "inner", online=False)])
    assert offline.startswith("RUNNER_TRUSTED") and "offline" in offline
    kept = [runner(name, name, ephemeral=False) for name in ("gpu", "inner")]
    train, trusted = weaknesses(labels, kept)
    assert "the runner gpu is kept" in train and "--ephemeral" in train
    assert "a workflow of a branch" in trusted and "runner group" in trusted


def test_a_variable_of_no_class_is_told() -> None:
    """The name that all classes had once, and a misspelt one."""
    told = list(
        runners.unknown([*runners.CLASSES, "RUNNER", "RUNNER_TRUST", "RUNNERS"])
    )
    assert [text.split(":")[0].split()[-1] for text in told] == [
        "RUNNER",
        "RUNNER_TRUST",
    ]


@pytest.mark.parametrize(
    ("url", "labels", "absent"),
    [
        ("/srv/models", [], ["RUNNER_TRAIN", "RUNNER_TRUSTED"]),
        ("/srv/models", ["RUNNER_TRAIN"], ["RUNNER_TRUSTED"]),
        ("/srv/models", ["RUNNER_TRAIN", "RUNNER_TRUSTED"], []),
        ("s3://bucket/models", [], []),
        ("{here}/.dvc/branch", [], []),
    ],
)
def test_storage_in_a_folder_needs_runners_that_see_it(
    url: str, labels: list[str], absent: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    text = f"['remote \"storage\"']\n    url = {url.format(here=tmp_path.resolve())}\n"
    Path(".dvc", "config").write_text(text)
    told = " ".join(runners.unseen(labels))
    assert [
        name for name in ("RUNNER_TRAIN", "RUNNER_TRUSTED") if name in told
    ] == absent


def test_who_may_not_look_is_told_by_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """An organisation's runners are left out; the repository's own are not."""
    entry = {"name": "a", "status": "online", "labels": [{"name": "GPU"}]}
    refused = {"/orgs/o/actions/runners": 403}

    def api(path: str, *_: object, **__: object) -> Any:
        if path in refused:
            raise github.GitHubError(refused[path], "refused")
        return {"total_count": 1, "runners": [entry]}

    monkeypatch.setattr(github, "api", api)
    monkeypatch.setattr(github, "repo", lambda: "o/r")
    one = Runner("a", frozenset({"gpu"}), online=True, ephemeral=False)
    assert registered_runners.listed() == ([one], None)
    refused.clear()
    assert registered_runners.listed() == ([one, one], None)
    refused["actions/runners"] = 403
    (others, error) = registered_runners.listed()
    assert others == [one] and error and error.status == 403


def test_variables_of_the_organisation_come_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = [{"name": "A", "value": "theirs"}, {"name": "B", "value": "theirs"}]
    known = {"actions/variables": [{"name": "A", "value": "ours"}]}

    def api(path: str, *_: object, **__: object) -> Any:
        if path not in known:
            raise github.GitHubError(404, "a person has none")
        return {"variables": known[path]}

    monkeypatch.setattr(github, "api", api)
    assert github.variables() == {"A": "ours"}
    known["actions/organization-variables"] = shared
    assert github.variables() == {"A": "ours", "B": "theirs"}
