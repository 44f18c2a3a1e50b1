"""The queue of workflow runs, each in a clean folder, with a token of its own."""

import shutil
import threading
import time
import traceback
from collections.abc import Callable
from fnmatch import fnmatchcase

from . import act, processes, workspace
from .state import ACTIONS_APP, Json, Run
from .workflows import Workflow
from .workspace import Runner

ORDER = ("failure", "cancelled", "success")  # the worst result names the run's


class Queue:
    """Starts queued runs in order; two runs of one workflow never overlap."""

    def __init__(
        self,
        runner: Runner,
        workers: int,
        ended: Callable[[Run], None],
        last: Callable[[Run], bool] = lambda run: False,
    ) -> None:
        """``ended`` is called with each run that has a conclusion."""
        self.state, self.runner = runner.state, runner
        self.ended, self.last = ended, last
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
        self.record(run)

    def release(self, run: Run) -> None:
        """Let a held run start."""
        run.status, run.conclusion = "queued", None
        self.record(run)

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
        """Return whether no run is queued or in progress, but for ``ignored`` ones."""
        idle = ("completed", "waiting")
        return all(r.status in idle or ignored(r) for r in self.state.runs)

    def record(self, run: Run) -> None:
        """Write the run's state to the journal."""
        self.state.record(
            "run", id=run.id, workflow=run.workflow, event=run.event, title=run.title,
            repository=run.repository, status=run.status, conclusion=run.conclusion,
            pull=run.pull, head_sha=run.head_sha, seconds=round(run.seconds, 2),
            jobs=run.jobs, waiting=run.waiting, log=str(run.log_path),
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

    def _supersede(self, run: Run, workflow: Workflow) -> None:
        """Cancel what a newer run replaces, where the workflow has a group.

        A run that only waits for its turn is always replaced, one in progress only
        if it belongs to a proposal and the workflow says so.
        """
        if not workflow.concurrency or run.event not in ("pull_request", "push"):
            return
        ends = bool(run.pull and workflow.concurrency.get("cancel-in-progress"))
        group = (run.path, run.pull, run.ref, run.event)
        for earlier in self.state.runs:
            started = earlier.status not in ("queued", "completed")
            replaced = earlier.status == "queued" or (ends and started)
            facts = (earlier.path, earlier.pull, earlier.ref, earlier.event)
            if replaced and facts == group:
                self.cancel(earlier)

    def _work(self) -> None:
        """Start the oldest queued run, until the queue stops."""
        while True:
            with self.state.changed:
                if self.stopped:
                    return
                if (run := self._next()) is None:
                    self.state.changed.wait()
                    continue
                run.status = "in_progress"
                self.record(run)
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
        unfinished = any(r.status != "completed" and not self.last(r) for r in runs)
        queued = (
            r
            for r in runs
            if r.status == "queued" and not (unfinished and self.last(r))
        )
        return next((r for r in queued if (r.repository, r.path) not in busy), None)

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
            run.waiting = sorted({gates[j] for j in gates.keys() & reached - closed})
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
            outcome = self._act(run, workflow, jobs, reach)
            with self.state.changed:
                own = {j: r for j, r in outcome.jobs.items() if j in jobs}
                run.jobs |= {j: r for j, r in own.items() if r != "skipped"}
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
        else:
            its = (self.state, run, workflow, workflow.call.job, run.legs[leg])
            reach = workspace.scope(*its)
            outcome = self._act(run, workflow, set(), reach, run.legs[leg])
            run.jobs[leg] = outcome.jobs.get(workflow.call.called_job, "failure")
        return run.jobs.get(leg) == "success"

    def _act(
        self, run: Run, workflow: Workflow, jobs: set[str], reach: workspace.Scope,
        leg: str = "",
    ) -> act.Outcome:  # fmt: skip
        """Call act once; only some jobs do something."""
        with self.state.changed:
            call = workspace.prepare(self.runner, run, workflow, jobs, reach, leg)
        begun, outcome = time.monotonic(), act.Outcome()
        try:
            outcome = act.run(call)
        finally:
            processes.end(f"{self.runner.mark}-{run.id}")
            shutil.rmtree(call.folder.parent, ignore_errors=True)
        with self.state.changed:
            run.seconds += time.monotonic() - begun
            run.summary += outcome.summary
            run.outputs = outcome.outputs | run.outputs
        return outcome

    def _refuse(self, run: Run, job: str) -> None:
        """Fail a job whose environment is not open to the run's branch."""
        run.jobs[job] = "failure"
        with run.log_path.open("a", encoding="utf-8") as log:
            log.write(f"[{job}] {run.ref} may not deploy to its environment\n")

    def _environments(self, run: Run, workflow: Workflow) -> dict[str, Json]:
        """Return the environment of each job that has one, as the settings say."""
        names = workflow.environments(run.payload.get("inputs") or {}) | run.legs
        repository = self.state.repositories[run.repository]
        with self.state.changed:
            return {j: self.state.environment(repository, n) for j, n in names.items()}

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
            for token in run.tokens.values():
                self.state.tokens.pop(token, None)
            self.record(run)
            self.ended(run)
