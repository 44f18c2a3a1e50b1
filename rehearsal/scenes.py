"""The life of one repository, scene by scene, in the order in which it happens."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

from rehearsal import proposals
from rehearsal.play import Step, expect
from rehearsal.world import World

# Flights of the past, so that no later window of the monitor holds them; the weather of
# each is at an end of its range, as of a feed in other units.
BROKEN_DAYS = ("2013-02-04", "2013-02-06")
BROKEN_FEED = (
    *("--data=data/flights.parquet", "--batch=50", "--label-delay=0"),
    *("--drift=temp=-80", "--drift=dewp=80", "--drift=humid=100"),
    *("--drift=wind_speed=100", "--drift=precip=10"),
    *("--drift=pressure=-100", "--drift=visib=-20"),
)


def first_model(world: World) -> None:
    """A first model is trained, proposed, judged without a champion and deployed."""
    with world.play.step("first model", "A first model: proposed and judged") as step:
        world.dana.git("switch", "-q", "-c", "first-model")
        proposals.unsure(world.dana.clone)
        world.dana.git("commit", "-qam", "Train a first model that says if unsure")
        number = world.propose(
            "first-model",
            "A first model",
            "Gradient boosting on what the schedule says: airline, route, weekday, "
            "minute and distance. Beside each prediction it says which of late and "
            "punctual the truth may be, and decides nothing where it may be both.",
        )
        step.show("pull", number=number)
        world.settle(step)
        step.note(pull_request=number)
        world.expect_status(step, number, "success")
    with world.play.step("first deploy", "Merged, registered, deployed") as step:
        world.merge_and_deploy(step, number)


def better_model(world: World) -> None:
    """Only params change: one push; CI trains, and what it built runs."""
    title = "A better model, with the weather: judged"
    with world.play.step("better model", title) as step:
        world.dana.git("switch", "-q", "-c", "weather")
        proposals.weather(world.dana.clone)
        proposals.settings(world.dana.clone)
        proposals.canary(world.dana.clone)
        world.dana.git("commit", "-qam", "Use the weather at the origin, as a canary")
        number = world.propose(
            "weather",
            "Use the weather at the origin",
            "Adds eight columns of the hourly weather at the origin. More rain never "
            "means fewer delays. Rows are weighted: late flights count as much as "
            "punctual ones, and are as frequent at each airport. The threshold is the "
            "one that is worth most. It is to answer half of production's rows first.",
        )
        step.show("pull", number=number)
        world.settle(step)
        step.note(pull_request=number)
        world.expect_status(step, number, "success")
    canary(world, number)
    title = "The weather feed is mended; a person promotes the version"
    with world.play.step("better deploy", title) as step:
        dispatches = "actions/workflows/deploy.yml/dispatches"
        world.rita.api(dispatches, "POST", {"ref": "main"})
        world.deployed(step)
        world.check_one_number(step, number)
        world.variable("PRODUCTION_BY_DISPATCH", "false")
        asked(world, step)


def asked(world: World, step: Step) -> None:
    """Production answers with sets, and decides where a set has exactly one class."""
    [row] = world.production.example()
    hours = [{**row, "id": f"asked-{h}", "minute": 60 * h} for h in range(24)]
    predictions = world.production.predict(hours)
    decided = [p for p in predictions if p["decision"] is not None]
    step.note(asked=f"{len(decided)} of {len(predictions)} flights of a day decided")
    expect(0 < len(decided) < len(predictions), f"it never abstains: {predictions}")
    for prediction in predictions:
        alone = len(prediction["set"]) == 1
        expect(alone == (prediction["decision"] is not None), f"{prediction}")


def canary(world: World, number: int) -> None:
    """A broken feed reaches the canary only; the monitor's rules take it back."""
    champion = world.production.info()["manifest_sha256"]
    tried = world.reviewed(number)
    title = "Merged: a canary answers half of the rows, and is taken back"
    with world.play.step("canary", title) as step:
        world.variable("PRODUCTION_BY_DISPATCH", "true")
        world.merge(number)
        world.deployed(step)
        answers = world.production.wait_for_canary(tried)
        expect(answers, f"no canary answers: {world.production.info()}")
        runs = world.release()["manifest_sha256"]
        expect(runs == champion, "production has a release that nobody promoted")
        step.note(sent=traffic(world, *BROKEN_DAYS, *BROKEN_FEED))
        step.note(answered=world.production.info()["canary"]["rows"])
        world.forge.tick(world.repo, "monitor.yml")
        world.settle(step)
        decided(world, step)
        taken = world.on_ledger("environments/production/canary.json")
        step.note(ledger=taken["state"], reason=taken["reason"])
        expect(taken["state"] == "taken back", "the monitor left the canary there")
        gone = world.production.wait_for_canary(None)
        expect(gone, "the host goes on with a canary that was taken back")
        info = world.production.info()["manifest_sha256"]
        step.note(production=info)
        expect(info == champion, "production changed")


def worse_model(world: World) -> None:
    """A worse model is refused, cannot be merged, and is refused again by deploy."""
    with world.play.step("worse model", "A worse model: refused") as step:
        world.dana.git("switch", "-q", "-c", "linear")
        proposals.linear(world.dana.clone)
        world.dana.git("commit", "-qam", "Try a linear model")
        number = world.propose(
            "linear", "A simpler model", "Logistic regression is easier to explain."
        )
        step.show("pull", number=number)
        world.settle(step)
        step.note(pull_request=number)
        world.expect_status(step, number, "failure")
        review = {"event": "APPROVE", "body": "Looks simple enough."}
        world.rita.api(f"pulls/{number}/reviews", "POST", review)
        fields = {"sha": world.head(number), "merge_method": "squash"}
        code, message = world.rita.refused(f"pulls/{number}/merge", "PUT", fields)
        step.note(merge=f"{code}: {message.splitlines()[-1]}")
        expect(code == 405, f"the merge answered HTTP {code}, expected 405")
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
        expect(deploy.conclusion == "failure", "deploy accepted a refused model")
        step.note(reason=_error(Path(deploy.log_path)))
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
        reverted = world.last_run("deploy.yml").conclusion
        step.note(deploy_after_revert=reverted)
        expect(reverted == "success", "deploy failed although main was reverted")
        world.dana.git("switch", "-q", "main")
        world.dana.git("pull", "-q", "--ff-only", "origin", "main")


def fork(world: World) -> None:
    """A pull request from a fork gets no secret and a read-only token."""
    title = "A pull request from a fork: judged without secrets"
    with world.play.step("fork", title) as step:
        world.finn.clone.mkdir(parents=True)
        world.finn.api("forks", "POST", {})
        slug = world.repo.split("/")[1]
        world.finn.git("clone", "-q", world.url(world.repo), slug)
        world.finn.clone = clone = world.finn.clone / slug
        url = world.url(f"finn/{slug}")
        world.finn.git("remote", "set-url", "origin", url)
        world.finn.git("switch", "-q", "-c", "typo")
        readme = clone / "README.md"
        readme.write_text(readme.read_text() + "\nSpelling checked.\n")
        world.finn.git("commit", "-qam", "Fix the spelling")
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
        )
        expect(not train.secrets, "a fork's run was given secrets")
        writes = [k for k, v in train.permissions.items() if v == "write"]
        expect(not writes, f"a fork's run may write {writes}")
        if world.service:  # whose login a fork does not get
            expect(train.conclusion == "failure", "a fork read storage without a login")
        else:
            world.expect_status(step, number, "success")
        world.rita.api(f"pulls/{number}", "PATCH", {"state": "closed"})


def quiet_months(world: World) -> None:
    """Two weeks of traffic; the monitor runs and proposes nothing."""
    title = "Two weeks of traffic; the monitor proposes nothing"
    with world.play.step("traffic", title) as step:
        step.note(sent=traffic(world, "2013-04-01", "2013-04-15"))
        world.forge.tick(world.repo, "monitor.yml")
        world.settle(step)
        run = world.last_run("monitor.yml")
        decision = decided(world, step)
        step.note(monitor=run.conclusion, decision=decision["decision"])
        step.note(sentence=decision["sentence"], sets=_beside(decision))
        expect(run.conclusion == "success", "the monitor failed")
        retrain = decision["decision"] == "retrain"
        expect(not retrain, "the monitor proposed to retrain without drift")


def drift(world: World) -> int:
    """Months of traffic; performance falls; the monitor opens a pull request."""
    title = "Months later: drift, and a retraining pull request"
    with world.play.step("drift", title) as step:
        step.note(sent=traffic(world, "2013-04-16", "2013-06-30"))
        world.forge.tick(world.repo, "monitor.yml")
        world.settle(step)
        decision = decided(world, step)
        step.note(decision=decision["decision"], sentence=decision["sentence"])
        retrain = decision["decision"] == "retrain"
        expect(retrain, "the monitor missed the drift in June")
        pull = world.open_pull(step)
        step.note(pull_request=pull["number"], opened_by=pull["user"]["login"])
        return int(pull["number"])


def retrained(world: World, number: int) -> str:
    """The proposal is judged like any other, merged and deployed."""
    with world.play.step("retrained", "The retrained model: judged") as step:
        step.show("pull", number=number)
        held = world.start_waiting_runs(number)
        step.note(runs_that_waited_for_approval=held)
        world.settle(step)
        world.expect_status(step, number, "success")
        lines = world.report(number).splitlines()
        estimate = [line for line in lines if line.startswith("The monitor expected")]
        expect(len(estimate) == 1, "the report does not compare the monitor's estimate")
        step.note(expectation=estimate[0])
    with world.play.step("retrained deploy", "Merged and deployed") as step:
        previous = str(world.release()["version"])
        world.merge_and_deploy(step, number)
    return previous


def rollback(world: World, version: str) -> None:
    """One command brings the earlier version back and opens the revert."""
    with world.play.step("rollback", f"Rolled back to {version}") as step:
        manifest = world.tagged(f"*@{version}")
        output = world.rita.make("rollback", f"VERSION={version}")
        step.note(output=output.splitlines()[-1])
        world.deployed(step)
        run = world.last_run("rollback.yml")
        expect(run.conclusion == "success", f"the rollback failed: {run.log_path}")
        runs = world.production.wait_for(manifest)
        expect(runs, "production does not run the earlier version")
        release = world.release()
        step.note(
            action=release["action"],
            version=release["version"],
            ledger=release["manifest_sha256"],
            info=world.production.info()["manifest_sha256"],
        )
        named = release["manifest_sha256"] == manifest
        expect(named, "the ledger names another version")
        number = int(world.open_pull(step)["number"])
    title = "Reverted on main: it names what production runs"
    with world.play.step("revert", title) as step:
        step.show("pull", number=number)
        world.start_waiting_runs(number)
        world.settle(step)
        step.note(pull_request=number)
        world.expect_status(step, number, "success")
        world.merge(number)
        world.deployed(step)
        deploy = world.last_run("deploy.yml").conclusion
        step.note(deploy=deploy)
        expect(deploy == "success", "deploying the same version again failed")
        expect(world.production.wait_for(manifest), "production changed")


def audit(world: World) -> None:
    """The audit says what served, from which data, and who approved it."""
    with world.play.step("audit", "Audit: what served, and who approved") as step:
        text = world.rita.make("audit")
        step.show("text", title="make audit", body=text)
        release = world.release()
        step.note(lines=len(text.splitlines()))
        for expected in (
            release["version"],
            release["manifest_sha256"],
            "rita",
            "dana",
        ):
            expect(str(expected) in text, f"the audit does not say {expected}")
        world.finish(step)


def traffic(world: World, since: str, until: str, *options: str) -> str:
    """Send flights to the deployed server; their labels arrive late."""
    output = world.dana.make(
        "simulate",
        f"FROM={since}",
        f"UNTIL={until}",
        f"URL={world.production.url}",
        f"LABELS={world.folder / 'labels.csv'}",
        f"ARGS={' '.join(options)}",
    )
    return output.splitlines()[-1]


def decided(world: World, step: Step) -> dict[str, Any]:
    """Return the monitor's newest decision, and show it on the page."""
    records = world.records("monitoring")
    expect(bool(records), "the monitor wrote nothing to the ledger")
    newest = max(records, key=lambda record: int(record["seq"]))
    path = monitor_page(world, f"monitor-{newest['seq']}.html")
    page = {"path": path} if path else {}
    title = f"Monitor: {newest['decision']}"
    step.show("monitoring", record=newest, title=title, **page)
    return newest


def _beside(decision: dict[str, Any]) -> str:
    """Return what the monitor's record says of sets and abstention."""
    names = ("gate coverage", "abstention")
    values = {c["name"]: str(c["value"]) for c in decision["checks"]}
    lacking = [name for name in names if name not in values]
    expect(not lacking, f"the monitor's record has no {lacking}")
    return "; ".join(values[name] for name in names)


def monitor_page(world: World, name: str) -> str:
    """Download the page of the monitor's newest run; return its path, or nothing."""
    run = world.last_run("monitor.yml")
    artifacts = world.rita.api(f"actions/runs/{run.id}/artifacts")["artifacts"]
    for artifact in artifacts:
        data = world.rita.download(f"actions/artifacts/{artifact['id']}/zip")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pages = [n for n in archive.namelist() if n.endswith(".html")]
            if pages:
                copy = world.folder / "reports" / name
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(archive.read(pages[0]))
                return f"reports/{name}"
    return ""


def _error(log: Path) -> str:
    """Return the first error in a run's log."""
    for line in log.read_text(errors="replace").splitlines():
        if match := re.search(r"::error::(.*)", line):
            return match[1]
    return "no error in the log"
