"""doctor tells what is weaker, and protect sets it up."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import traffic
from machinery.world import World, git, roll_out, world
from mlgitops import github, heartbeat, login, storage
from mlgitops.commands import doctor, protect
from mlgitops.ledger import Ledger
from mlgitops.store import rights


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a repository with three environments."""
    home = tmp_path_factory.mktemp("chained")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        made.through("staging", "qa", "production")
        return made


@pytest.fixture
def here(
    chained: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a copy of it, on a GitHub that knows its settings."""
    with world(tmp_path, monkeypatch, chained) as made:
        Path(".dvc").mkdir()
        remote = "['remote \"storage\"']\n    url = ../../store\n"
        Path(".dvc/config").write_text(f"{remote}    verify = true\n")
        Path("CODEOWNERS").write_text("/mlgitops/ @boss  # what judges\n")
        settings: dict[str, Any] = {"can_approve_pull_request_reviews": False}
        settings |= {"enabled": True, "allowed_actions": "all"}
        places: dict[str, dict[str, Any]] = {}
        policies: dict[str, list[dict[str, Any]]] = {}
        variables: list[dict[str, str]] = []
        keep = made.hub.api

        def api(path: str, method: str = "GET", fields: Any = None, **more: Any) -> Any:
            made.hub.calls.append((method, path))
            for (verb, start), status in made.hub.refused.items():
                if verb == method and path.startswith(start):
                    raise github.GitHubError(status, f"GitHub refused {path}")
            name = path.removeprefix("environments/").split("/")[0]
            match method, path.split("/")[0]:
                case "GET", "environments" if path.endswith("policies"):
                    return {"branch_policies": policies.get(name, [])}
                case "GET", "environments" if path.endswith("secrets"):
                    return {"secrets": []}
                case "GET", "environments":
                    start = 30 * (fields["page"] - 1)  # as GitHub, whatever is asked
                    page = list(places.values())[start : start + 30]
                    return {"environments": page, "total_count": len(places)}
                case "PUT", "environments":
                    rules = [
                        {
                            "type": "required_reviewers",
                            "reviewers": [
                                {"type": r["type"], "reviewer": {"id": r["id"]}}
                                for r in fields.get("reviewers") or []
                            ],
                        }
                    ]
                    policy = fields.get("deployment_branch_policy")
                    places[name] = {
                        "name": name,
                        "protection_rules": rules if fields.get("reviewers") else [],
                        "deployment_branch_policy": policy,
                    }
                    return places[name]
                case "POST", "environments":
                    entry = {"id": len(policies.get(name, [])) + 1, **fields}
                    policies.setdefault(name, []).append(entry)
                    return entry
                case "DELETE", "environments":
                    gone = int(path.split("/")[-1])
                    policies[name] = [p for p in policies[name] if p["id"] != gone]
                    return b""
                case "GET", "codeowners":
                    return {"errors": made.errors}  # type: ignore[attr-defined]
                case "GET", "rules":
                    return made.rules  # type: ignore[attr-defined]
                case "PUT", "actions":
                    return settings.update(fields)
                case "POST", "actions":
                    return variables.append(fields)
                case "GET", "actions":
                    known = {"variables": variables, "runners": made.runners}  # type: ignore
                    return {**known, **settings}
            if path == "/repos/o/r":
                return made.repository  # type: ignore[attr-defined]
            if path.startswith("/orgs/"):
                return {"runners": []}
            if path == "/meta":
                return made.meta  # type: ignore[attr-defined]
            return {"id": 9} if path == "/user" else keep(path, method, fields, **more)

        monkeypatch.setattr(github, "api", api)
        monkeypatch.setattr(storage, "missing", lambda outs: [])
        made.variables = variables  # type: ignore[attr-defined]
        made.runners = []  # type: ignore[attr-defined]
        made.repository = {"visibility": "private"}  # type: ignore[attr-defined]
        made.repository["default_branch"] = "main"  # type: ignore[attr-defined]
        made.errors, made.rules, made.meta = [], [], {}  # type: ignore[attr-defined]
        made.settings = settings  # type: ignore[attr-defined]
        yield made


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what the doctor says."""
    doctor.main()
    return capsys.readouterr().out.splitlines()


def see_the_folder(here: Any) -> None:
    """Give both kinds of jobs runners that see storage, which is a folder."""
    for name, label in (("RUNNER_TRAIN", "gpu"), ("RUNNER_TRUSTED", "inner")):
        here.variables.append({"name": name, "value": json.dumps([label])})
        runner = {"name": label, "status": "online", "ephemeral": True}
        here.runners.append({**runner, "labels": [{"name": label}]})


def starting(found: list[str], state: str, what: str) -> bool:
    """Tell whether a line of that state speaks of something."""
    return any(line.startswith(state) and what in line for line in found)


def test_doctor_names_what_is_weaker(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines(capsys)
    for what in ("GitHub lacks ruleset", "nobody approves", "may not open", "no App"):
        assert starting(found, "weaker", what), what
    assert starting(
        found, "weaker", "GitHub has no environment staging, qa, production"
    )
    for what in ("no STAGING_URL", "no QA_URL", "no PRODUCTION_URL"):
        assert starting(found, "weaker", what), what
    for what in ("no PREDICTION_LOG", "no IMAGE_REGISTRY", "neither attested nor"):
        assert starting(found, "weaker", what), what
    assert starting(found, "ok", "origin answers")
    assert starting(found, "ok", "storage has all objects of the .dvc pointers")
    assert not any("dvc.lock" in line for line in found)
    (here.clone / "dvc.lock").write_text("stages: {}\n")
    assert not any("dvc.lock" in line for line in lines(capsys)), "not in git"
    git("add", "dvc.lock")
    assert starting(lines(capsys), "weaker", "dvc.lock is in git")


def test_doctor_looks_for_the_version_that_head_builds(
    here: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here.through("production")
    here.judged("one")
    roll_out()
    monkeypatch.setattr(storage, "missing", lambda outs, cwd=".": [])
    good = "storage has all objects of the version that HEAD builds: 2"
    assert starting(lines(capsys), "ok", good)
    monkeypatch.setattr(storage, "missing", lambda outs, cwd=".": list(outs))
    with pytest.raises(SystemExit):
        doctor.main()
    found = capsys.readouterr().out.splitlines()
    assert starting(found, "broken", "storage lacks build/model.onnx, build/manifest")


def test_protect_makes_the_doctor_content(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    protect.main()
    names = [
        "APP_CLIENT_ID",
        "STAGING_URL",
        "QA_URL",
        "PRODUCTION_URL",
        "PREDICTION_LOG",
    ]
    names.append("IMAGE_REGISTRY")
    here.repository["visibility"] = "public"  # type: ignore[attr-defined]
    here.variables += [{"name": n, "value": "agent"} for n in names]  # type: ignore
    see_the_folder(here)
    capsys.readouterr()
    found = lines(capsys)
    assert [line for line in found if not line.startswith("ok")] == []


def test_protect_again_changes_nothing(here: World) -> None:
    protect.main()
    here.hub.calls.clear()
    protect.main()
    changes = [c for c in here.hub.calls if c[0] != "GET" and c[1] != "labels"]
    assert changes == []


def test_a_production_made_by_a_first_run_gets_its_reviewer(here: World) -> None:
    github.api("environments/production", "PUT", {})
    protect.main()
    (place,) = [e for e in protect.on_github() if e["name"] == "production"]
    assert [rule["type"] for rule in place["protection_rules"]] == [
        "required_reviewers"
    ]


SECRETS = ("register", "validate", "monitor", "reproduce", "score", "staging", "qa")


@pytest.mark.parametrize("name", [*SECRETS, "production"])
@pytest.mark.parametrize(
    "policy",
    [
        None,  # as GitHub creates it for the first run that names it
        {"protected_branches": True, "custom_branch_policies": False},
        protect.MAIN_ONLY,
    ],
)
def test_an_environment_gets_its_branch_whatever_it_was(
    here: World,
    name: str,
    policy: dict[str, bool] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    github.api(f"environments/{name}", "PUT", {"deployment_branch_policy": policy})
    if policy == protect.MAIN_ONLY:
        for branch in ("release/*", "main"):
            path = f"environments/{name}/deployment-branch-policies"
            github.api(path, "POST", {"name": branch, "type": "branch"})
    assert starting(lines(capsys), "weaker", f"environment {name} is for")
    protect.main()
    (place,) = [e for e in protect.on_github() if e["name"] == name]
    assert protect.open_to(place) == ["main"]
    capsys.readouterr()
    assert not starting(lines(capsys), "weaker", f"environment {name} is for")


def test_the_reviewers_that_somebody_chose_are_kept(here: World) -> None:
    team = [{"type": "Team", "id": 77}]
    github.api("environments/production", "PUT", {"reviewers": team})
    protect.main()
    (place,) = [e for e in protect.on_github() if e["name"] == "production"]
    assert protect.kept(place)["reviewers"] == team
    assert protect.open_to(place) == ["main"]


def test_without_reviewers_production_keeps_its_branch(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pro and Team: a private repository has branch rules, and no reviewers."""
    api = github.api

    def team(path: str, method: str = "GET", fields: Any = None, **more: Any) -> Any:
        if method == "PUT" and (fields or {}).get("reviewers"):
            raise github.GitHubError(422, "the plan has no reviewers")
        return api(path, method, fields, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(github, "api", team)
        with pytest.raises(SystemExit, match="1 of 4 refused"):
            protect.main()
    assert "production waits for a dispatch of `deploy`" in capsys.readouterr().out
    for place in protect.on_github():
        assert protect.open_to(place) == ["main"], place["name"]
    found = lines(capsys)
    assert starting(found, "ok", "production waits for `gh workflow run")


def test_an_organisation_that_forbids_pull_requests_of_actions(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """GitHub answers 409; the rest is set up, and it is said what that weakens."""
    here.hub.refused["PUT", "actions/permissions/workflow"] = 409
    with pytest.raises(SystemExit, match="1 of 4 refused"):
        protect.main()
    out = capsys.readouterr().out
    assert "refused  pull requests by Actions: workflows print a link instead" in out
    assert "ok       labels" in out


def test_an_organisation_is_no_code_owner(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    here.errors += [{"line": 3, "source": "/*.yaml   @acme\n"}]  # type: ignore
    protect.main()
    for text in (capsys.readouterr().out, "\n".join(lines(capsys))):
        (line,) = [row for row in text.splitlines() if "CODEOWNERS" in row]
        assert line.startswith("weaker") and "line 3" in line
        assert "/*.yaml @acme" in line and "@organisation/team" in line


def pushing(*logins: str) -> list[dict[str, Any]]:
    """Return people who may push."""
    return [{"login": name, "permissions": {"push": True}} for name in logins]


@pytest.mark.parametrize(
    ("owners", "people", "stuck"),
    [
        ("@boss", ("boss", "ann"), True),
        ("@Boss", ("boss", "ann", "bob"), True),
        ("@boss @ann", ("boss", "ann"), False),
        ("@acme/judges", ("boss", "ann"), False),
        ("@boss", ("boss",), False),  # alone: the ruleset asks for no review
    ],
)
def test_the_only_owner_of_a_team_is_told_how_to_merge(
    here: World,
    owners: str,
    people: tuple[str, ...],
    stuck: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("CODEOWNERS").write_text(f"/mlgitops/ {owners}\n/*.yaml {owners}\n")
    here.hub.kept["collaborators"] = pushing(*people)
    found = [line for line in lines(capsys) if "only code owner" in line]
    assert bool(found) is stuck
    if stuck:
        assert found[0].startswith("weaker") and "let @ann propose" in found[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.repository.update(default_branch="master"), "branches/master/re"),
        (lambda h: h.rules.append({"type": "merge_queue"}), "merge queue"),
        (lambda h: h.settings.update(allowed_actions="local_only"), "no workflow can"),
        (lambda h: h.settings.update(enabled=False), "no workflow can start"),
        (lambda h: h.settings.update(allowed_actions="selected"), "list of allowed"),
        (lambda h: h.meta.update(installed_version="3.20.0"), "Enterprise Server 3.20"),
    ],
)
def test_doctor_names_surroundings_in_which_nothing_runs(
    here: World, change: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not [line for line in lines(capsys) if line.startswith("broken")]
    change(here)
    with pytest.raises(SystemExit):
        doctor.main()
    assert starting(capsys.readouterr().out.splitlines(), "broken", words)


def test_doctor_looks_on_where_the_plan_has_no_rules(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    here.hub.refused["GET", "rules/"] = 403
    here.settings["allowed_actions"] = "local_only"  # type: ignore[attr-defined]
    with pytest.raises(SystemExit):
        doctor.main()
    found = capsys.readouterr().out.splitlines()
    assert starting(found, "weaker", "not known")
    assert starting(found, "broken", "no workflow can start")


def test_what_github_did_not_say_is_one_line(
    here: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no origin, say, or nobody is logged in."""

    def refused(*_: object, **__: object) -> None:
        raise github.GitHubError(0, "there is no `origin`")

    monkeypatch.setattr(github, "api", refused)
    with suppress(SystemExit):
        doctor.main()
    found = [x for x in capsys.readouterr().out.splitlines() if "no `origin`" in x]
    assert len(found) == 1 and "rulesets, " in found[0]


def test_only_rulesets_of_our_own_that_are_on_count(
    here: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = github.api
    parents = [{"name": r["name"]} for r in protect.wanted_rulesets()]

    def organisation(path: str, method: str = "GET", fields: Any = None) -> Any:
        own = api(path, method, fields)
        if (method, path) != ("GET", "rulesets"):
            return own
        return own if fields.get("includes_parents") == "false" else own + parents

    monkeypatch.setattr(github, "api", organisation)
    assert protect.rulesets().count(";") == len(parents) - 1
    assert not protect.absent_rulesets()
    assert not starting(lines(capsys), "weaker", "switched off")
    here.hub.kept["rulesets"][0]["enforcement"] = "disabled"
    assert not protect.absent_rulesets()  # it is there: nothing to make
    assert starting(lines(capsys), "weaker", "switched off")


def test_doctor_says_which_runners_jobs_have(
    here: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = here
    assert starting(lines(capsys), "ok", "every job is on a runner of GitHub's own")
    made.variables.append({"name": "RUNNER", "value": "ours"})
    assert starting(lines(capsys), "weaker", "no workflow reads the variable RUNNER:")
    made.variables[0] = {"name": "RUNNER_TRAIN", "value": '["gpu"]'}
    assert starting(lines(capsys), "weaker", "is not registered here")
    assert "weaker   runners: RUNNER_TRAIN" in protected(capsys)
    labels = [{"name": "gpu"}, {"name": "inner"}]
    runner = {"name": "a", "status": "online", "ephemeral": True, "labels": labels}
    made.runners.append(runner)
    found = lines(capsys)
    assert starting(found, "ok", "RUNNER_TRAIN is gpu: train")
    assert not starting(found, "weaker", "RUNNER_TRAIN")
    made.variables.append({"name": "RUNNER_TRUSTED", "value": '["inner"]'})
    with pytest.raises(SystemExit, match="1 finding"):
        doctor.main()
    assert starting(
        capsys.readouterr().out.splitlines(), "broken", "the runner a takes"
    )
    made.variables[1]["value"] = "gpu"
    with pytest.raises(SystemExit, match="1 finding"):
        doctor.main()
    assert "has to be a JSON list" in capsys.readouterr().out


def test_runners_that_share_a_label_are_found_by_whoever_asks(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only an administrator may list them."""
    here.hub.refused["GET", "actions/runners"] = 403
    for name in ("RUNNER_CHECK", "RUNNER_TRUSTED"):
        here.variables.append({"name": name, "value": '["gpu"]'})  # type: ignore
    with pytest.raises(SystemExit, match="1 finding"):
        doctor.main()
    found = capsys.readouterr().out.splitlines()
    assert starting(found, "broken", "takes the jobs of RUNNER_CHECK")
    assert starting(found, "weaker", "not known (runners)")


def protected(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `make github` says."""
    protect.main()
    return capsys.readouterr().out


def test_doctor_reads_every_page_of_the_variables(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, many = github.api, [{"name": f"N{n}", "value": "x"} for n in range(40)]

    def paged(path: str, method: str = "GET", fields: Any = None, **more: Any) -> Any:
        if path != "actions/variables":
            return api(path, method, fields, **more)
        size = min(30, int((fields or {}).get("per_page", 10)))
        start = size * (int((fields or {}).get("page", 1)) - 1)
        return {"total_count": 40, "variables": many[start : start + size]}

    monkeypatch.setattr(github, "api", paged)
    assert set(github.variables()) == {entry["name"] for entry in many}


def test_without_reviewers_production_waits_for_a_dispatch(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A free private repository: no rule for environments, and the doctor says so."""
    api = github.api

    def free(path: str, method: str = "GET", fields: Any = None, **more: Any) -> Any:
        if (
            method == "PUT"
            and path.startswith("environments/")
            and any(fields.values())
        ):
            raise github.GitHubError(422, "the plan has no such rule")
        return api(path, method, fields, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(github, "api", free)
        with pytest.raises(SystemExit, match="1 of 4 refused"):
            protect.main()
    said = capsys.readouterr().out
    assert "refused  environments: production waits for a dispatch" in said
    assert starting(lines(capsys), "ok", "production waits for `gh workflow run")


def test_with_reviewers_nothing_waits_for_a_dispatch(here: World) -> None:
    protect.main()
    assert here.variables == []  # type: ignore[attr-defined]


def test_one_person_alone_is_not_locked_out(here: World) -> None:
    here.hub.kept["collaborators"] = [{"permissions": {"push": True}}]
    protect.rulesets()
    assert reviews(here) == 0


def test_two_people_review_each_other(here: World) -> None:
    here.hub.kept["collaborators"] = [{"permissions": {"push": True}}] * 2
    protect.rulesets()
    assert reviews(here) == 1


def reviews(here: World) -> int:
    """Return how many approvals the ruleset asks for."""
    (count,) = [
        rule["parameters"]["required_approving_review_count"]
        for ruleset in here.hub.kept["rulesets"]
        for rule in ruleset["rules"]
        if rule["type"] == "pull_request"
    ]
    return int(count)


def test_a_plan_without_rulesets_is_said_and_the_rest_is_done(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    here.hub.refused["GET", "rulesets"] = 403
    with pytest.raises(SystemExit, match="1 of 4 refused"):
        protect.main()
    out = capsys.readouterr().out
    assert "refused  rulesets: main is not protected" in out
    assert "ok       pull requests by Actions: allowed" in out


def test_rights_that_are_missing_are_not_a_traceback(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("GET", "PUT"):
        here.hub.refused[verb, "actions"] = 403
    found = lines(capsys)
    assert starting(found, "weaker", "(actions)")


def test_doctor_is_red_when_something_is_broken(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".dvc/config").write_text(
        Path(".dvc/config").read_text().replace("= true", "= false")
    )
    git("remote", "remove", "origin")
    with pytest.raises(SystemExit, match="2 findings"):
        doctor.main()
    out = capsys.readouterr().out
    assert "dvc remote modify storage verify true" in out
    assert "gh repo create" in out


@pytest.mark.parametrize(
    ("kind", "fix"), [("s3", "type `make setup`"), ("hdfs", "dvc[hdfs]")]
)
def test_doctor_says_what_the_kind_of_storage_lacks(
    kind: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind is known by its locked packages; the team may lock another one."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(f"['remote \"storage\"']\nurl = {kind}://bucket\n")
    ((state, text),) = doctor.packages()
    assert state == "broken" and fix in text


def test_doctor_names_the_logins_that_the_workflows_lack(
    here: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder or a branch needs none; a bucket does in each workflow that uses it."""
    assert not any(login.LOGIN in line for line in lines(capsys))
    monkeypatch.setattr(storage, "kind", lambda: "s3")
    (state, text), (_, reader) = doctor.logins()
    assert (
        state == "weaker" and "validate, monitor, reproduce, score, staging, qa" in text
    )
    assert login.READ_LOGIN in reader
    known = {"secrets": [{"name": name} for name in (login.LOGIN, login.READ_LOGIN)]}
    known["variables"] = []
    monkeypatch.setattr(github, "api", lambda path, fields: known)
    ((state, _),) = doctor.logins()
    assert state == "ok"


def test_doctor_tries_what_the_logins_may_do(
    here: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert starting(lines(capsys), "ok", "storage took an object")
    Path(".dvc", rights.READER).write_text("['remote \"storage\"']\n    user = a\n")
    with pytest.raises(SystemExit):
        doctor.main()
    assert starting(capsys.readouterr().out.splitlines(), "broken", "may write")
    store = Path(storage.url())
    shutil.rmtree(store)
    store.write_text("a file where the folder should be")
    found = [*doctor.access()]
    assert found[0][0] == "weaker" and "cannot be written" in found[0][1]
    assert found[1][0] == "weaker" and "cannot be tried" in found[1][1]
    denied = rights.Rights(write="403", denied=True)
    monkeypatch.setattr(rights, "probe", lambda *_: denied)
    assert [*doctor.access()][1][0] == "ok"


def test_rulesets_name_the_required_checks() -> None:
    rules = json.loads((protect.RULESETS / "main.json").read_text())["rules"]
    (checks,) = [r["parameters"] for r in rules if r["type"].startswith("required_")]
    named = {check["context"] for check in checks["required_status_checks"]}
    assert named == {"ci", "validate"}
    actions = {check["integration_id"] for check in checks["required_status_checks"]}
    assert actions == {15368}  # GitHub Actions: nobody sets them with a token of theirs
    assert checks["strict_required_status_checks_policy"]


def test_a_monitor_that_stopped_to_run_is_named(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"monitor": traffic.SECTION}))
    assert heartbeat.late(Ledger()) is None
    made = datetime(2020, 1, 1, tzinfo=UTC)
    entry = {"decision": "none", "time": made.isoformat(), "seq": 1}
    Ledger().append({"monitoring/00000001.json": entry}, "monitor: none")
    assert heartbeat.late(Ledger(), made + timedelta(days=13)) is None
    said = heartbeat.late(Ledger(), made + timedelta(days=15))
    assert said is not None and "last ran 15 days ago" in said
    with suppress(SystemExit):
        doctor.main()
    assert any("the monitor last ran" in line for line in lines(capsys))
