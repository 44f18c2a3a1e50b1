"""The queue of workflow runs, each in a clean folder, with a token of its own."""

import shutil
import threading
import time
import traceback
from collections.abc import Callable
from fnmatch import fnmatchcase

from . import act, deployments, processes, workspace
from .state import ACTIONS_APP, Json, Run
from .workflows import Workflow
from .workspace import Runner

ORDER = ("failure", "cancelled", "success")  # the worst result names the run's


class Queue:
    """Starts queued runs in order; of each concurrency group, one is on its way.

    Each worker is a runner of one's own: one job at a time, with a tool cache that is
    kept, whatever code filled it, and may be the same for all.
    """

    def __init__(
        self,
        runner: Runner,
        workers: int,
        ended: Callable[[Run], None],
        last: Callable[[Run], bool] = lambda run: False,
        left_out: Callable[[Run], bool] = lambda run: False,
    ) -> None:
        """``ended`` is called with each run that has a conclusion."""
        self.state, self.runner = runner.state, runner
        self.ended, self.last, self.left_out = ended, last, left_out
        self.workflows: dict[int, Workflow] = {}
        self.approved: dict[int, set[str]] = {}
        self.stopped = False
        self.threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(1, workers + 1)
        ]

    def submit(self, run: Run, workflow: Workflow, held: str = "") -> None:
        """Queue a run; ``held`` is the conclusion of one that does not start.

        One that cannot start at all has no checks: those that are required never come.
        """
        self.workflows[run.id] = workflow
        self.approved.setdefault(run.id, set())
        names = {} if held == "startup_failure" else workflow.job_names()
        repository = self.state.repositories[run.repository]
        repository.checks += [
            {"name": name, "head_sha": run.head_sha, "conclusion": None,
             "run": run.id, "job": job, "app": ACTIONS_APP}
            for job, name in names.items()
        ]  # fmt: skip
        self.state.runs.append(run)
        if held:
            run.status, run.conclusion = "completed", held
            self.record(run)
        else:
            self.release(run)

    def release(self, run: Run) -> None:
        """Let a run start, when nothing else of its concurrency group is on its way.

        Another that waits for the same is cancelled: the newest goes next. One that is
        on its way is, if the workflow says so; also one that waits for an approval.
        """
        if self.left_out(run):
            return self._skip(run)
        workflow = self.workflows[run.id]
        run.status, run.conclusion = "queued", None
        run.group = workflow.group(run)
        for other in self._group(run):
            if other.status == "pending" or workflow.replaces(run):
                self.cancel(other)
        if self._group(run):
            run.status = "pending"
        self.record(run)

    def _skip(self, run: Run) -> None:
        """End a run that is left out, and its checks."""
        run.status, run.conclusion = "completed", "skipped"
        for check in self.state.repositories[run.repository].checks:
            if check["run"] == run.id:
                check["conclusion"] = run.conclusion
        self.record(run)

    def _group(self, run: Run) -> list[Run]:
        """Return the other runs of a concurrency group that have not ended."""
        facts = (run.repository, run.group)
        return [
            other
            for other in self.state.runs
            if run.group and other is not run and other.status != "completed"
            and (other.repository, other.group) == facts
        ]  # fmt: skip

    def _next_of_group(self, run: Run) -> None:
        """Queue the run that waited for the end of another of its group."""
        left = self._group(run)
        if all(other.status == "pending" for other in left):
            for other in left:
                other.status = "queued"
                self.record(other)

    def review(self, run: Run, environments: list[str], approved: bool) -> None:
        """Go on with a waiting run, or end it."""
        run.waiting = [name for name in run.waiting if name not in environments]
        if approved:
            self.approved[run.id].update(environments)
            run.status = "queued"
            self.record(run)
        else:
            gated = self._environments(run, self.workflows[run.id])
            names = {job: each["name"] for job, each in gated.items()}
            run.jobs |= {j: "failure" for j, e in names.items() if e in environments}
            self._finish(run)

    def cancel(self, run: Run) -> None:
        """End a run that is queued, waiting or in progress."""
        was, run.conclusion = run.status, "cancelled"
        if was == "in_progress":
            processes.end(f"{self.runner.mark}-{run.id}")
        elif was != "completed":
            self._finish(run)

    def idle(self, ignored: Callable[[Run], bool] = lambda run: False) -> bool:
        """Return whether no run is queued or in progress, but for ``ignored`` ones.

        Nor is one that is pending behind another which waits for its approval.
        """
        return all(self._rests(r) or ignored(r) for r in self.state.runs)

    def _rests(self, run: Run) -> bool:
        """Return whether nothing happens to a run until somebody decides."""
        if run.status == "pending":
            return any(other.status == "waiting" for other in self._group(run))
        return run.status in ("completed", "waiting")

    def record(self, run: Run) -> None:
        """Write the run's state to the journal."""
        self.state.record(
            "run", id=run.id, workflow=run.workflow, event=run.event, title=run.title,
            repository=run.repository, status=run.status, conclusion=run.conclusion,
            pull=run.pull, head_sha=run.head_sha, seconds=round(run.seconds, 2),
            jobs=run.jobs, waiting=run.waiting, requests=run.requests,
            log=str(run.log_path),
        )  # fmt: skip

    def stop(self) -> None:
        """End every child and the workers."""
        self.stopped = True
        with self.state.changed:
            self.state.changed.notify_all()
        processes.end(f"{self.runner.mark}-")
        for thread in self.threads:
            if thread.is_alive():
                thread.join(timeout=5)
        processes.end(f"{self.runner.mark}-")

    def _work(self, runner: int) -> None:
        """Start the oldest queued run, until the queue stops."""
        while True:
            with self.state.changed:
                if self.stopped:
                    return
                if (run := self._next()) is None:
                    self.state.changed.wait()
                    continue
                run.status, run.runner = "in_progress", runner
                self.record(run)
            try:
                self._run(run)
            except Exception:  # the forge's own fault: shown in the log, never lost
                with run.log_path.open("a") as log:
                    log.write(traceback.format_exc())
                run.jobs["forge"] = "failure"
                self._finish(run)

    def _next(self) -> Run | None:
        """Return the oldest queued run.

        What comes ``last`` waits for all others, also for one that an approval holds.
        """
        runs = self.state.runs
        unfinished = any(r.status != "completed" and not self.last(r) for r in runs)
        queued = (
            r
            for r in runs
            if r.status == "queued" and not (unfinished and self.last(r))
        )
        return next(queued, None)

    def _run(self, run: Run) -> None:
        """Run what may start now; then finish, or wait for an approval."""
        workflow = self.workflows[run.id]
        if not run.legs:
            self._jobs(run, workflow)
        for leg in [each for each in run.legs if each not in run.jobs]:
            if run.conclusion or not self._leg(run, workflow, leg):
                break
        with self.state.changed:
            if run.waiting and run.conclusion is None:
                run.status = "waiting"
                self.record(run)
            else:
                self._finish(run)

    def _jobs(self, run: Run, workflow: Workflow) -> None:
        """Run the jobs that can start; note the approvals and calls that come next."""
        gates, closed = self._gates(run, workflow), self._closed(run, workflow)
        held = {*gates, *closed, *([workflow.call.job] if workflow.call else [])}
        blocked = {j for j in workflow.jobs if held & {j, *workflow.needs(j)}}
        outcome = self._each_scope(run, workflow, blocked)
        reached = {j for j, r in outcome.jobs.items() if r == "success"}
        with self.state.changed:
            for job in closed & reached:
                self._refuse(run, job)
            waiting = gates.keys() & reached - closed
            run.waiting = sorted({gates[j] for j in waiting})
            for job in waiting:
                self._deployment(run, job, gates[job], "waiting")
            if workflow.call and not run.waiting:
                self._expand(run, workflow, outcome.legs)

    def _each_scope(
        self, run: Run, workflow: Workflow, blocked: set[str]
    ) -> act.Outcome:
        """Run the jobs that are not blocked, those of one scope together.

        The outcome is that of the last call, which saw the outputs of all jobs before.
        """
        skipped: set[str] = set()
        while True:
            done = run.jobs.keys() | skipped
            ready = [
                job
                for job in workflow.jobs
                if job not in done | blocked and workflow.needs(job) <= done
            ]
            scopes = [workspace.scope(self.state, run, workflow, job) for job in ready]
            jobs = {j for j, s in zip(ready, scopes, strict=True) if s == scopes[0]}
            reach = scopes[0] if scopes else workspace.Scope((), "")
            for job in jobs:
                self._deployment(run, job, reach.environment, "in_progress")
            outcome = self._act(run, workflow, jobs, reach)
            with self.state.changed:
                own = {j: r for j, r in outcome.jobs.items() if j in jobs}
                run.jobs |= {j: r for j, r in own.items() if r != "skipped"}
                for job in jobs:
                    result = own.get(job, "skipped")
                    self._deployment(run, job, reach.environment, result)
                if outcome.code and "failure" not in outcome.jobs.values():
                    run.jobs["act"] = "failure"
            skipped |= jobs - run.jobs.keys()
            for job in [j for j in workflow.jobs if j not in blocked | run.jobs.keys()]:
                decided = workflow.needs(job) <= run.jobs.keys() | skipped
                if decided and outcome.jobs.get(job, "skipped") == "skipped":
                    skipped.add(job)
            rest = workflow.jobs.keys() - run.jobs.keys() - skipped - blocked
            if not rest or "act" in run.jobs or run.conclusion:
                return outcome

    def _expand(self, run: Run, workflow: Workflow, environments: list[str]) -> None:
        """Put a check per environment in the place of the job that calls for each."""
        assert workflow.call
        run.legs = {workflow.leg(name): name for name in environments}
        checks = self.state.repositories[run.repository].checks
        its = (run.id, workflow.call.job)
        for check in [c for c in checks if run.legs and (c["run"], c["job"]) == its]:
            checks.remove(check)
            checks += [{**check, "name": leg, "job": leg} for leg in run.legs]

    def _leg(self, run: Run, workflow: Workflow, leg: str) -> bool:
        """Run one environment of a call; tell whether the next one may follow.

        act goes on after one that failed; GitHub does not, so each has its own call.
        """
        assert workflow.call
        gates, closed = self._gates(run, workflow), self._closed(run, workflow)
        if leg in closed:
            self._refuse(run, leg)
        elif leg in gates:
            run.waiting = [gates[leg]]
            self._deployment(run, leg, gates[leg], "waiting")
        else:
            its = (self.state, run, workflow, workflow.call.job, run.legs[leg])
            reach = workspace.scope(*its)
            self._deployment(run, leg, reach.environment, "in_progress")
            outcome = self._act(run, workflow, set(), reach, run.legs[leg])
            run.jobs[leg] = outcome.jobs.get(workflow.call.called_job, "failure")
            self._deployment(run, leg, reach.environment, run.jobs[leg])
        return run.jobs.get(leg) == "success"

    def _deployment(self, run: Run, job: str, environment: str, outcome: str) -> None:
        """Say how GitHub's own deployment of a job goes, if it has an environment."""
        with self.state.changed:
            deployments.of_job(self.state, run, job, environment, outcome)

    def _act(
        self, run: Run, workflow: Workflow, jobs: set[str], reach: workspace.Scope,
        leg: str = "",
    ) -> act.Outcome:  # fmt: skip
        """Call act once; only some jobs do something."""
        with self.state.changed:
            call = workspace.prepare(self.runner, run, workflow, jobs, reach, leg)
        begun, outcome = time.monotonic(), act.Outcome()
        try:
            outcome = act.run(call, lambda: self._heed(run))
        finally:
            processes.end(f"{self.runner.mark}-{run.id}")
            shutil.rmtree(call.folder.parent, ignore_errors=True)
        with self.state.changed:
            run.seconds += time.monotonic() - begun
            run.summary += outcome.summary
            run.outputs = outcome.outputs | run.outputs
        return outcome

    def _heed(self, run: Run) -> None:
        """End what was started after somebody had ended everything there was."""
        if run.conclusion or self.stopped:
            processes.end(f"{self.runner.mark}-{run.id}")

    def _refuse(self, run: Run, job: str) -> None:
        """Fail a job whose environment is not open to the run's branch."""
        run.jobs[job] = "failure"
        with run.log_path.open("a", encoding="utf-8") as log:
            log.write(f"[{job}] {run.ref} may not deploy to its environment\n")

    def _environments(self, run: Run, workflow: Workflow) -> dict[str, Json]:
        """Return the environment of each job whose environment is there already."""
        names = workflow.environments(run.payload.get("inputs") or {}) | run.legs
        present = self.state.repositories[run.repository].environments
        with self.state.changed:
            return {j: present[name] for j, name in names.items() if name in present}

    def _gates(self, run: Run, workflow: Workflow) -> dict[str, str]:
        """Return the jobs that wait for a reviewer: job id -> environment."""
        approved = self.approved[run.id]
        return {
            job: environment["name"]
            for job, environment in self._environments(run, workflow).items()
            if environment["reviewers"] and environment["name"] not in approved
        }

    def _closed(self, run: Run, workflow: Workflow) -> set[str]:
        """Return the jobs whose environment is not open to the run's branch."""
        closed = set()
        for job, environment in self._environments(run, workflow).items():
            policy = environment["deployment_branch_policy"] or {}
            names = (f"refs/heads/{branch}" for branch in environment["branches"])
            if policy.get("custom_branch_policies") and not any(
                fnmatchcase(run.ref, each) for each in names
            ):
                closed.add(job)
        return closed

    def _finish(self, run: Run) -> None:
        """Close a run, its checks and its token; start the workflows that follow it."""
        with self.state.changed:
            workflow = self.workflows[run.id]
            repository = self.state.repositories[run.repository]
            called = workflow.call.job if workflow.call and run.legs else None
            run.jobs = dict.fromkeys(run.legs, "cancelled") | run.jobs
            for job in workflow.jobs.keys() - {called}:
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
            ended = run.conclusion == "cancelled"
            for job, deployment in list(run.deployments.items()):
                if deployment["statuses"][-1]["state"] in ("waiting", "in_progress"):
                    result = "cancelled" if ended else run.jobs[job]
                    self._deployment(run, job, deployment["environment"], result)
            for token in run.tokens.values():
                self.state.tokens.pop(token, None)
            self.record(run)
            self._next_of_group(run)
            self.ended(run)
