"""The queue of workflow runs: one at a time, each in a clean place, with its token."""

import json
import shutil
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

from . import act, events, processes, workflows
from .state import ACTIONS_APP, Json, Repository, Run, State
from .workflows import Workflow

ORDER = ("failure", "cancelled", "success")  # the worst result names the run's


class Queue:
    """Runs what is queued, in order, in one worker thread."""

    def __init__(
        self, state: State, tools: Path, gh_config: Callable[[Path], None]
    ) -> None:
        """``tools`` is the folder put first on PATH; ``gh_config`` writes gh's."""
        self.state, self.tools, self.gh_config = state, tools, gh_config
        self.mark = uuid.uuid4().hex[:12]
        self.workflows: dict[int, Workflow] = {}
        self.approved: dict[int, set[str]] = {}
        self.stopped = False
        self.thread = threading.Thread(target=self._work, daemon=True)

    def submit(self, run: Run, workflow: Workflow, held: bool) -> None:
        """Queue a run, or hold it until somebody approves it."""
        self.workflows[run.id] = workflow
        self.approved.setdefault(run.id, set())
        if held:
            run.status, run.conclusion = "completed", "action_required"
        else:
            self._supersede(run, workflow)
        names = workflow.job_names()
        repository = self.state.repositories[run.repository]
        repository.checks += [
            {"name": name, "head_sha": run.head_sha, "conclusion": None,
             "run": run.id, "job": job, "app": ACTIONS_APP}
            for job, name in names.items()
        ]  # fmt: skip
        self.state.runs.append(run)
        self.tell(run)

    def release(self, run: Run) -> None:
        """Let a held run start."""
        run.status, run.conclusion = "queued", None
        self.tell(run)

    def review(self, run: Run, environments: list[str], approved: bool) -> None:
        """Go on with a waiting run, or end it."""
        run.waiting = [name for name in run.waiting if name not in environments]
        if approved:
            self.approved[run.id].update(environments)
            run.status = "queued"
            self.tell(run)
        else:
            gated = self.workflows[run.id].environments()
            run.jobs |= {j: "failure" for j, e in gated.items() if e in environments}
            self._finish(run)

    def cancel(self, run: Run) -> None:
        """End a run that is queued, waiting or in progress."""
        was, run.conclusion = run.status, "cancelled"
        if was == "in_progress":
            processes.end(f"{self.mark}-{run.id}")
        elif was != "completed":
            self._finish(run)

    def idle(self) -> bool:
        """Tell whether nothing is queued or in progress."""
        return all(r.status in ("completed", "waiting") for r in self.state.runs)

    def tell(self, run: Run) -> None:
        """Write the run's state to the journal."""
        self.state.record(
            "run", id=run.id, workflow=run.workflow, event=run.event, title=run.title,
            repository=run.repository, status=run.status, conclusion=run.conclusion,
            pull=run.pull, head_sha=run.head_sha, seconds=round(run.seconds, 2),
            jobs=run.jobs, waiting=run.waiting, log=str(run.log_path),
        )  # fmt: skip

    def stop(self) -> None:
        """End every child and the worker."""
        self.stopped = True
        with self.state.changed:
            self.state.changed.notify_all()
        processes.end(f"{self.mark}-")
        if self.thread.is_alive():
            self.thread.join(timeout=5)
        processes.end(f"{self.mark}-")

    def _supersede(self, run: Run, workflow: Workflow) -> None:
        """Cancel older runs of the same proposal, where the workflow says so."""
        if not run.pull or not workflow.concurrency.get("cancel-in-progress"):
            return
        for old in self.state.runs:
            same = (old.path, old.pull) == (run.path, run.pull)
            if same and old.event == run.event and old.status != "completed":
                self.cancel(old)

    def _work(self) -> None:
        """Take the oldest queued run, again and again."""
        while True:
            with self.state.changed:
                queued = [r for r in self.state.runs if r.status == "queued"]
                if self.stopped:
                    return
                if not queued:
                    self.state.changed.wait()
                    continue
                queued[0].status = "in_progress"
                self.tell(queued[0])
            try:
                self._run(queued[0])
            except Exception:  # the forge's own fault: shown in the log, never lost
                with queued[0].log_path.open("a") as log:
                    log.write(traceback.format_exc())
                queued[0].jobs["forge"] = "failure"
                self._finish(queued[0])

    def _run(self, run: Run) -> None:
        """Run the jobs that may start now; then finish, or wait for an approval."""
        workflow = self.workflows[run.id]
        with self.state.changed:
            repository = self.state.repositories[run.repository]
            gates = self._gates(run, workflow, repository)
            blocked = {
                j for j in workflow.jobs if gates.keys() & {j, *workflow.needs(j)}
            }
            call = self._call(run, workflow, repository, workflow.without(blocked))
        begun = time.monotonic()
        codes, reached = [], set()
        try:
            for job in self._leaves(run, workflow, blocked):
                call.job = job
                outcome = act.run(call)
                codes.append(outcome.code)
                run.summary += outcome.summary
                reached |= {j for j, r in outcome.jobs.items() if r == "success"}
                fresh = {j: r for j, r in outcome.jobs.items() if j not in blocked}
                run.jobs |= {j: r for j, r in fresh.items() if run.jobs.get(j) != r}
        finally:
            processes.end(f"{self.mark}-{run.id}")
            shutil.rmtree(call.folder.parent, ignore_errors=True)
        with self.state.changed:
            run.seconds += time.monotonic() - begun
            if any(codes) and "failure" not in run.jobs.values():
                run.jobs["act"] = "failure"
            run.waiting = sorted({gates[j] for j in gates.keys() & reached})
            if run.waiting and run.conclusion is None:
                run.status = "waiting"
                self.tell(run)
            else:
                self._finish(run)

    def _gates(
        self, run: Run, workflow: Workflow, repository: Repository
    ) -> dict[str, str]:
        """Return the jobs that wait for a reviewer: job id -> environment."""
        gates = {}
        for job, name in workflow.environments().items():
            environment = events.environment(self.state, repository, name)
            if environment["reviewers"] and name not in self.approved[run.id]:
                gates[job] = name
        return gates

    def _leaves(self, run: Run, workflow: Workflow, blocked: set[str]) -> list[str]:
        """Return the jobs to name to act: nothing for all, in the first phase."""
        if not run.jobs:
            return [""]
        todo = [j for j in workflow.jobs if j not in blocked and j not in run.jobs]
        needed = set().union(*(workflow.needs(job) for job in todo))
        return [job for job in todo if job not in needed]

    def _call(
        self, run: Run, workflow: Workflow, repository: Repository, text: str
    ) -> act.Call:
        """Lay out a clean place for a run and mint its token."""
        folder = self.state.home / "runs" / str(run.id)
        for name in ("source", "home", "tmp", "gh"):
            (folder / name).mkdir(parents=True)
        file = folder / "source" / workflow.path
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        payload = folder / "event.json"
        payload.write_text(json.dumps(run.payload), encoding="utf-8")
        self.gh_config(folder / "gh")
        artifacts = self.state.home / "artifacts" / str(run.id)
        artifacts.mkdir(parents=True, exist_ok=True)
        pool = "proposed" if run.event == "pull_request" else "trusted"
        cache = self.state.home / "runner" / pool
        cache.mkdir(parents=True, exist_ok=True)
        env = processes.environment(self.tools) | {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "GH_CONFIG_DIR": str(folder / "gh"),
            "FORGE_ARTIFACTS": str(artifacts),
            processes.MARK: f"{self.mark}-{run.id}",
        }
        variables = {k: str(v["value"]) for k, v in repository.variables.items()}
        return act.Call(
            run.event, workflow.path, folder / "source", payload, cache, run.log_path,
            run.actor.login, env, self._github(run),
            self._secrets(run, workflow, repository), {} if run.fork else variables,
            actions(workflow.text, self._local(repository, run.sha)),
        )  # fmt: skip

    def _github(self, run: Run) -> dict[str, str]:
        """Return what a run is told about itself."""
        base = self.state.url
        return {
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_NUMBER": str(run.number),
            "GITHUB_RUN_ATTEMPT": str(run.attempt),
            "GITHUB_REPOSITORY": run.repository,
            "GITHUB_REPOSITORY_OWNER": run.repository.split("/")[0],
            "GITHUB_REF": run.ref,
            "GITHUB_REF_NAME": run.ref.split("/", 2)[2],
            "GITHUB_REF_TYPE": "tag" if run.ref.startswith("refs/tags/") else "branch",
            "GITHUB_SHA": run.sha,
            "SHA_REF": run.sha,  # the name under which act 0.2.89 reads GITHUB_SHA
            "GITHUB_SERVER_URL": base,
            "GITHUB_API_URL": base,
        }

    def _secrets(
        self, run: Run, workflow: Workflow, repository: Repository
    ) -> dict[str, str]:
        """Mint the run's token (once) and return it with the secrets it may have."""
        if not run.token:
            default = str(repository.actions["default_workflow_permissions"])
            granted = workflows.permissions(workflow, default, run.fork)
            bot = self.state.person("github-actions[bot]", "Bot")
            run.token = self.state.mint(
                bot, "ghs", permissions=granted, repository=run.repository,
                app=ACTIONS_APP,
            ).value  # fmt: skip
            self.state.record("token", run=run.id, permissions=granted)
        return {**({} if run.fork else repository.secrets), "GITHUB_TOKEN": run.token}

    def _local(self, repository: Repository, commit: str) -> str:
        """Return the text of the repository's own composite actions at a commit."""
        return events.composites(repository, commit)

    def _finish(self, run: Run) -> None:
        """Close a run: its checks, its token, and whatever waits for its end."""
        with self.state.changed:
            workflow = self.workflows[run.id]
            repository = self.state.repositories[run.repository]
            for job in workflow.jobs:
                run.jobs.setdefault(job, "skipped")
            results = set(run.jobs.values())
            worst = next((r for r in ORDER if r in results), "skipped")
            run.conclusion = run.conclusion or worst
            run.status, run.updated_at = "completed", self.state.now()
            for check in repository.checks:
                if check["run"] == run.id:
                    cancelled = run.conclusion == "cancelled"
                    result = run.jobs[check["job"]]
                    check["conclusion"] = "cancelled" if cancelled else result
            self.state.tokens.pop(run.token, None)
            self.tell(run)
            events.workflow_run(self.state, self, run)


def actions(*texts: str) -> dict[str, str]:
    """Return a stand-in for every third-party action that the texts use."""
    found: dict[str, str] = {}
    for line in "\n".join(texts).splitlines():
        words = line.strip().removeprefix("- ").split()
        if len(words) > 1 and words[0] == "uses:" and "@" in words[1]:
            name = words[1].split("@")[0]
            found[words[1]] = str(act.STAND_INS / name.split("/")[-1])
    return found


def pending(run: Run, queue: Queue, repository: Repository) -> list[Json]:
    """Return what a waiting run waits for."""
    return [repository.environments[name] for name in run.waiting]
