"""The queue of workflow runs: one at a time, each in a clean place, with its token."""

import shutil
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from . import act, events, processes, workspace
from .state import ACTIONS_APP, Repository, Run, State
from .workflows import Workflow

ORDER = ("failure", "cancelled", "success")  # the worst result names the run's


class Queue:
    """Runs what is queued, in order; two runs of one workflow never overlap."""

    def __init__(
        self,
        state: State,
        tools: Path,
        runners: Path,
        gh_config: Callable[[Path], None],
        workers: int,
        last: Callable[[Run], bool] = lambda run: False,
    ) -> None:
        """``tools`` is put first on PATH; ``runners`` is where workspaces are."""
        self.state, self.tools, self.gh_config = state, tools, gh_config
        self.runners, self.last = runners, last
        self.mark = uuid.uuid4().hex[:12]
        self.workflows: dict[int, Workflow] = {}
        self.approved: dict[int, set[str]] = {}
        self.stopped = False
        self.threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(workers)
        ]

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
            gated = self.workflows[run.id].environments(run.payload.get("inputs") or {})
            run.jobs |= {j: "failure" for j, e in gated.items() if e in environments}
            self._finish(run)

    def cancel(self, run: Run) -> None:
        """End a run that is queued, waiting or in progress."""
        was, run.conclusion = run.status, "cancelled"
        if was == "in_progress":
            processes.end(f"{self.mark}-{run.id}")
        elif was != "completed":
            self._finish(run)

    def idle(self, aside: Callable[[Run], bool] = lambda run: False) -> bool:
        """Tell whether nothing is queued or in progress, but for what is ``aside``."""
        ended = ("completed", "waiting")
        return all(r.status in ended or aside(r) for r in self.state.runs)

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
        for thread in self.threads:
            if thread.is_alive():
                thread.join(timeout=5)
        processes.end(f"{self.mark}-")

    def _supersede(self, run: Run, workflow: Workflow) -> None:
        """Cancel what a newer run replaces, where the workflow has a group.

        A run that only waits for its turn is always replaced, one in progress only
        if it belongs to a proposal and the workflow says so.
        """
        if not workflow.concurrency or run.event not in ("pull_request", "push"):
            return
        ends = bool(run.pull and workflow.concurrency.get("cancel-in-progress"))
        for old in self.state.runs:
            same = (old.path, old.pull, old.ref) == (run.path, run.pull, run.ref)
            late = old.status == "queued" or (ends and old.status != "completed")
            if same and old.event == run.event and late:
                self.cancel(old)

    def _work(self) -> None:
        """Take the oldest queued run, again and again."""
        while True:
            with self.state.changed:
                if self.stopped:
                    return
                if (run := self._next()) is None:
                    self.state.changed.wait()
                    continue
                run.status = "in_progress"
                self.tell(run)
            try:
                self._run(run)
            except Exception:  # the forge's own fault: shown in the log, never lost
                with run.log_path.open("a") as log:
                    log.write(traceback.format_exc())
                run.jobs["forge"] = "failure"
                self._finish(run)

    def _next(self) -> Run | None:
        """Return the oldest queued run of a workflow that is not running already.

        What comes ``last`` waits for all others, also for one that an approval holds.
        """
        runs = self.state.runs
        busy = {(r.repository, r.path) for r in runs if r.status == "in_progress"}
        others = any(r.status != "completed" and not self.last(r) for r in runs)
        queued = (
            r for r in runs if r.status == "queued" and not (others and self.last(r))
        )
        return next((r for r in queued if (r.repository, r.path) not in busy), None)

    def _run(self, run: Run) -> None:
        """Run the jobs that may start now; then finish, or wait for an approval."""
        workflow = self.workflows[run.id]
        with self.state.changed:
            repository = self.state.repositories[run.repository]
            gates = self._gates(run, workflow, repository)
            blocked = {
                j for j in workflow.jobs if gates.keys() & {j, *workflow.needs(j)}
            }
            closed = self._closed(run, workflow, repository)
            blocked |= {j for j in workflow.jobs if closed & {j, *workflow.needs(j)}}
            call = workspace.prepare(self, run, workflow, repository, blocked)
        begun, outcome = time.monotonic(), act.Outcome()
        try:
            outcome = act.run(call)
        finally:
            processes.end(f"{self.mark}-{run.id}")
            shutil.rmtree(call.folder.parent, ignore_errors=True)
        done = {j: r for j, r in outcome.jobs.items() if j not in blocked}
        reached = {j for j, r in outcome.jobs.items() if r == "success"}
        with self.state.changed:
            run.seconds += time.monotonic() - begun
            run.summary += outcome.summary
            run.outputs = outcome.outputs | run.outputs
            run.jobs = done | run.jobs
            for job in closed & reached:
                run.jobs[job] = "failure"
                with run.log_path.open("a", encoding="utf-8") as log:
                    log.write(f"[{job}] {run.ref} may not deploy to its environment\n")
            if outcome.code and "failure" not in run.jobs.values():
                run.jobs["act"] = "failure"
            run.waiting = sorted({gates[j] for j in gates.keys() & reached - closed})
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
        inputs = run.payload.get("inputs") or {}
        for job, name in workflow.environments(inputs).items():
            environment = self.state.environment(repository, name)
            if environment["reviewers"] and name not in self.approved[run.id]:
                gates[job] = name
        return gates

    def _closed(self, run: Run, workflow: Workflow, repository: Repository) -> set[str]:
        """Return the jobs whose environment is not open to the run's branch."""
        closed = set()
        for job, name in workflow.environments(run.payload.get("inputs") or {}).items():
            about = self.state.environment(repository, name)
            custom = (about["deployment_branch_policy"] or {}).get(
                "custom_branch_policies"
            )
            names = (f"refs/heads/{branch}" for branch in about["branches"])
            if custom and not any(fnmatchcase(run.ref, each) for each in names):
                closed.add(job)
        return closed

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
