"""The life of one repository, scene by scene, in the order in which it happens."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

from rehearsal.play import Step, expect
from rehearsal.world import World, apply

PROPOSALS = Path(__file__).parent / "proposals"


def first_model(world: World) -> None:
    """Somebody trains, proposes, is judged without a champion, and is deployed."""
    with world.play.step("first model", "A first model: proposed and judged") as step:
        world.dana.git("switch", "-q", "-c", "first-model")
        world.dana.make("repro")
        world.dana.git("add", "dvc.lock")
        world.dana.git("commit", "-q", "-m", "Train a first model")
        number = world.propose(
            "first-model",
            "A first model",
            "Gradient boosting on what the schedule tells: airline, route, weekday, "
            "minute and distance.",
        )
        step.show("pull", number=number)
        world.settle(step)
        step.note(pull_request=number, validate=world.status(number))
        expect(world.status(number) == "success", "the first model was not accepted")
    with world.play.step("first deploy", "Merged, registered, deployed") as step:
        step.show("pull", number=number)
        world.merge(number)
        with world.timed(step, number):
            world.deployed(step)
        world.check_one_number(step, number)


def better_model(world: World) -> None:
    """Only params change; CI trains, its lock is adopted, the better model runs."""
    with world.play.step("better model", "A better model: the weather") as step:
        world.dana.git("switch", "-q", "-c", "weather")
        apply(world.dana, PROPOSALS / "weather.patch")
        world.dana.git("commit", "-qam", "Let the model see the weather")
        number = world.propose(
            "weather",
            "Let the model see the weather",
            "Eight columns of the hourly weather at the origin.",
        )
        step.show("pull", number=number)
        world.settle(step)
        step.note(pull_request=number, validate=world.status(number))
        expect(
            world.status(number) == "pending", "a lock that CI must build is pending"
        )
        step.note(adopt=world.dana.make("adopt", f"PR={number}").splitlines()[-1])
        world.settle(step)
        step.note(validate_after_adopt=world.status(number))
        expect(world.status(number) == "success", "the better model was not accepted")
    with world.play.step("better deploy", "Merged and deployed") as step:
        step.show("pull", number=number)
        world.merge(number)
        with world.timed(step, number):
            world.deployed(step)
        world.check_one_number(step, number)


def worse_model(world: World) -> None:
    """A worse model is refused, cannot be merged, and is refused again by deploy."""
    with world.play.step("worse model", "A worse model: refused") as step:
        world.dana.git("switch", "-q", "-c", "linear")
        apply(world.dana, PROPOSALS / "linear.patch")
        world.dana.make("repro")
        world.dana.git("commit", "-qam", "Try a linear model")
        number = world.propose(
            "linear", "A simpler model", "Logistic regression is easier to explain."
        )
        step.show("pull", number=number)
        world.settle(step)
        step.note(pull_request=number, validate=world.status(number))
        expect(world.status(number) == "failure", "the worse model was not refused")
        review = {"event": "APPROVE", "body": "Looks simple enough."}
        world.rita.api(f"pulls/{number}/reviews", "POST", review)
        fields = {"sha": world.head(number), "merge_method": "squash"}
        code, words = world.rita.refused(f"pulls/{number}/merge", "PUT", fields)
        step.note(merge=f"{code}: {words.splitlines()[-1]}")
        expect(code == 405, f"merging it answered {code}, not 405")
    with world.play.step("forced", "Forced onto main: refused by deploy") as step:
        champion = world.production.info()["manifest_sha256"]
        runs = len(world.forge.runs)
        world.rita.git("fetch", "-q", "origin")
        with world.no_rules():
            world.rita.git("push", "-q", "origin", "origin/linear:main")
        world.deployed(step)
        deploy = world.last_run("deploy.yml")
        step.note(deploy=deploy.conclusion, runs=len(world.forge.runs) - runs)
        step.note(production=world.production.info()["manifest_sha256"])
        expect(deploy.conclusion == "failure", "deploy let a refused model through")
        step.note(why=_error(Path(deploy.log_path)))
        expect(
            world.production.info()["manifest_sha256"] == champion,
            "production changed although deploy refused",
        )
        world.rita.git("switch", "-q", "--detach", "origin/linear")
        world.rita.git("revert", "--no-edit", "HEAD")
        with world.no_rules():
            world.rita.git("push", "-q", "origin", "HEAD:main")
        world.rita.api(f"pulls/{number}", "PATCH", {"state": "closed"})
        world.deployed(step)
        after = world.last_run("deploy.yml")
        step.note(deploy_after_revert=after.conclusion)
        expect(after.conclusion == "success", "main is right again, deploy is not")
        world.dana.git("switch", "-q", "main")
        world.dana.git("pull", "-q", "--ff-only", "origin", "main")


def fork(world: World) -> None:
    """A stranger's proposal runs with no secret and a token that only reads."""
    with world.play.step("fork", "A stranger's fork: judged without secrets") as step:
        world.finn.clone.mkdir(parents=True)
        world.finn.api("forks", "POST", {})
        slug = world.repo.split("/")[1]
        world.finn.git("clone", "-q", world.url(world.repo), slug)
        world.finn.clone = here = world.finn.clone / slug
        url = world.url(f"finn/{slug}")
        world.finn.git("remote", "set-url", "origin", url)
        world.finn.git("switch", "-q", "-c", "typo")
        readme = here / "README.md"
        readme.write_text(readme.read_text() + "\nSpelling looked at by a stranger.\n")
        world.finn.git("commit", "-qam", "Look at the spelling")
        world.finn.git("push", "-q", "origin", "typo")
        fields = {"title": "Spelling", "head": "finn:typo", "base": "main", "body": ""}
        number = int(world.finn.api("pulls", "POST", fields)["number"])
        step.show("pull", number=number)
        world.settle(step)
        if world.start_waiting_runs(number):
            world.settle(step)
        train = world.last_run("train.yml")
        step.note(
            pull_request=number,
            train=train.conclusion,
            secrets=sorted(train.secrets),
            token=dict(train.permissions),
            validate=world.status(number),
        )
        expect(not train.secrets, "a fork's run was given secrets")
        writes = [k for k, v in train.permissions.items() if v == "write"]
        expect(not writes, f"a fork's run may write {writes}")
        expect(world.status(number) == "success", "a change of words was not accepted")
        world.rita.api(f"pulls/{number}", "PATCH", {"state": "closed"})


def quiet_months(world: World) -> None:
    """Production answers; the monitor looks and proposes nothing."""
    with world.play.step(
        "traffic", "Two weeks of traffic; the monitor proposes nothing"
    ) as step:
        step.note(sent=traffic(world, "2013-04-01", "2013-04-15"))
        world.forge.tick(world.repo, "monitor.yml")
        world.settle(step)
        run = world.last_run("monitor.yml")
        decision = decided(world, step)
        step.note(monitor=run.conclusion, decision=decision["decision"])
        step.note(sentence=decision["sentence"])
        expect(run.conclusion == "success", "the monitor failed")
        expect(decision["decision"] != "retrain", "the monitor cried wolf")


def drift(world: World) -> int:
    """Months go by; performance falls; the machine opens a pull request."""
    with world.play.step("drift", "Months later: drift, and a proposal") as step:
        step.note(sent=traffic(world, "2013-04-16", "2013-06-30"))
        world.forge.tick(world.repo, "monitor.yml")
        world.settle(step)
        decision = decided(world, step)
        step.note(decision=decision["decision"], sentence=decision["sentence"])
        expect(decision["decision"] == "retrain", "the monitor slept through June")
        pulls = world.rita.api("pulls?state=open")
        expect(len(pulls) == 1, f"{len(pulls)} pull requests are open, not one")
        number = int(pulls[0]["number"])
        step.show("pull", number=number)
        step.note(pull_request=number, opened_by=pulls[0]["user"]["login"])
        return number


def retrained(world: World, number: int) -> str:
    """The proposal is judged like any other, adopted, merged and deployed."""
    with world.play.step("retrained", "The retrained model: judged") as step:
        step.show("pull", number=number)
        held = world.start_waiting_runs(number)
        step.note(runs_that_waited_for_a_click=held)
        world.settle(step)
        step.note(validate=world.status(number))
        if world.status(number) == "pending":
            branch = str(world.dana.api(f"pulls/{number}")["head"]["ref"])
            world.dana.git("fetch", "-q", "origin", branch)
            world.dana.git("switch", "-q", branch)
            world.dana.make("adopt", f"PR={number}")
            world.settle(step)
        step.note(validate_after_adopt=world.status(number))
        expect(
            world.status(number) == "success", "the retrained model was not accepted"
        )
        lines = world.report(number).splitlines()
        promise = [line for line in lines if line.startswith("The monitor expected")]
        expect(len(promise) == 1, "the report does not say what came of the promise")
        step.note(expectation=promise[0])
    with world.play.step("retrained deploy", "Merged and deployed") as step:
        step.show("pull", number=number)
        before = str(world.release()["version"])
        world.merge(number)
        world.deployed(step)
        world.check_one_number(step, number)
    return before


def rollback(world: World, version: str) -> None:
    """One command brings the earlier version back and opens the revert."""
    with world.play.step("rollback", f"Rolled back to {version}") as step:
        wanted = world.tagged(f"*@{version}")
        step.note(
            said=world.rita.make("rollback", f"VERSION={version}").splitlines()[-1]
        )
        world.deployed(step)
        run = world.last_run("rollback.yml")
        expect(run.conclusion == "success", f"the rollback failed: {run.log_path}")
        expect(world.production.wait_for(wanted), "production does not run it")
        release = world.release()
        step.note(
            action=release["action"],
            version=release["version"],
            ledger=release["manifest_sha256"],
            info=world.production.info()["manifest_sha256"],
        )
        expect(release["manifest_sha256"] == wanted, "the ledger names another version")
        pulls = world.rita.api("pulls?state=open")
        expect(len(pulls) == 1, f"{len(pulls)} pull requests are open, not one")
        number = int(pulls[0]["number"])
        step.show("pull", number=number)
    with world.play.step("revert", "main and production agree again") as step:
        step.show("pull", number=number)
        world.start_waiting_runs(number)
        world.settle(step)
        step.note(pull_request=number, validate=world.status(number))
        expect(world.status(number) == "success", "the revert was not accepted")
        world.merge(number)
        world.deployed(step)
        deploy = world.last_run("deploy.yml")
        step.note(deploy=deploy.conclusion)
        expect(deploy.conclusion == "success", "deploying the same version is no no-op")
        expect(world.production.wait_for(wanted, 2), "production changed")


def audit(world: World) -> None:
    """In a year: what served on this date, from which data, who approved?"""
    with world.play.step("audit", "Audit: what served, and who approved") as step:
        text = world.rita.make("audit")
        step.show("text", title="make audit", body=text)
        release = world.release()
        step.note(lines=len(text.splitlines()))
        for what in (release["version"], release["manifest_sha256"], "rita", "dana"):
            expect(str(what) in text, f"the audit does not say {what}")
        world.finish(step)


def traffic(world: World, since: str, until: str) -> str:
    """Let the world ask the deployed server; labels come late."""
    said = world.dana.make(
        "simulate",
        f"FROM={since}",
        f"UNTIL={until}",
        f"URL={world.production.url}",
        f"LABELS={world.folder / 'labels.csv'}",
    )
    return said.splitlines()[-1]


def decided(world: World, step: Step) -> dict[str, Any]:
    """Return the monitor's newest decision, and let the page show it."""
    records = world.records("monitoring")
    expect(bool(records), "the monitor wrote nothing to the ledger")
    newest = max(records, key=lambda record: int(record["seq"]))
    path = monitor_page(world, f"monitor-{newest['seq']}.html")
    where = {"path": path} if path else {}
    title = f"Monitor: {newest['decision']}"
    step.show("monitoring", record=newest, title=title, **where)
    return newest


def monitor_page(world: World, name: str) -> str:
    """Bring the page that the monitor's run left, if it left one; return its path."""
    run = world.last_run("monitor.yml")
    kept = world.rita.api(f"actions/runs/{run.id}/artifacts")["artifacts"]
    for artifact in kept:
        data = world.rita.download(f"actions/artifacts/{artifact['id']}/zip")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pages = [n for n in archive.namelist() if n.endswith(".html")]
            if pages:
                place = world.folder / "reports" / name
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(archive.read(pages[0]))
                return f"reports/{name}"
    return ""


def _error(log: Path) -> str:
    """Return the first error that a run's log announces."""
    for line in log.read_text(errors="replace").splitlines():
        if found := re.search(r"::error::(.*)", line):
            return found[1]
    return "the log says nothing"
