"""Builds the challenger of a pull request; the workflow `train` runs it.

It starts from the champion's lock, so that every stage that differs from it runs here,
whatever lock was committed. Where CI itself has built the same recipe before, for a
version, for what was merged or for this pull request, its outputs are restored, and
nothing runs. Storage is that of the base branch.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlgitops import (
    built,
    git,
    github,
    lock,
    machine,
    recipe,
    runners,
    settings,
    stages,
    storage,
)
from mlgitops.commands.expected import expected_errors
from mlgitops.judge import gates, override, sandbox
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock, LockError
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.store import rights

ARTIFACT = Path("artifact")


def main() -> None:
    """Build, smoke-test and pack; a failure is one sentence."""
    started = time.monotonic()
    event = github.event()
    with expected_errors():
        facts = commits(event)
        number = int(str(facts["pull_request"]))
        runners.demand_apart(os.environ.get("VARIABLES", ""))
        check()
        try:
            facts |= build(str(facts["base_sha"]), number)
        except storage.StorageError as error:
            raise storage.StorageError(f"{error}{_fork(event)}") from error
        facts["seconds"] = round(time.monotonic() - started, 1)
        pack(facts)
    print(f"packed {ARTIFACT}/ in {facts['seconds']} s")


def commits(event: Mapping[str, Any]) -> dict[str, object]:
    """Return the pull request and its commits; the base is the merge's parent."""
    pull = event.get("pull_request")
    if not pull:
        raise github.fail(
            "`python -m mlgitops build` runs in the workflow of a pull request: use "
            "`make repro` here"
        )
    merge, *parents = git.run("rev-list", "--parents", "-1", "HEAD").split()
    base = parents[0] if len(parents) == 2 else str(pull["base"]["sha"])
    return {
        "schema": 1,
        "pull_request": int(pull["number"]),
        "head_sha": str(pull["head"]["sha"]),
        "base_sha": base,
        "merge_sha": merge,
    }


def build(base: str, number: int) -> dict[str, object]:
    """Download what was built before and the proposal's data; run what differs."""
    use_storage_of(base)
    rights.demand_reader()
    start, restored = first_lock(number)
    needed = [*(start.outs if start else ()), *lock.inputs()]
    print(f"pulling {len(needed)} objects from storage", flush=True)
    storage.pull(needed)
    ran = [] if restored else reproduce()
    made = lock.read()
    if made is None:
        raise LockError("`dvc repro` wrote no dvc.lock: dvc.yaml has no stage")
    return {
        "built_lock_sha256": made.sha256,
        "restored": restored,
        "stages_run": ran,
        "cpu": machine.cpu(),
    }


def check() -> None:
    """Refuse a mistake in any section of params.yaml before it is merged.

    Raises:
        ContractError: the mistake.
    """
    try:
        contract = Contract.read(Path("contract.yaml").read_bytes())
        params = settings.load(Path("params.yaml").read_bytes())
    except FileNotFoundError as error:
        raise ContractError(
            f"{error.filename} is missing: restore it with "
            f"`git checkout origin/main -- {error.filename}`"
        ) from error
    settings.check(params, contract)
    gates.parse(params, contract.task)
    override.parse(params, contract.task)


def use_storage_of(base: str) -> None:
    """Put the base branch's .dvc/config in place: a proposal cannot redirect it."""
    config = git.show(base, ".dvc/config")
    file = Path(".dvc", "config")
    if config is not None and file.read_bytes() != config:
        print("this pull request changes .dvc/config: building with main's instead")
        file.write_bytes(config)


def first_lock(number: int) -> tuple[Lock | None, bool]:
    """Put the lock to start from in place; return it, and whether nothing is to run."""
    ledger, data, restored = Ledger(), None, False
    if before := built.to_restore(ledger, recipe.at("HEAD"), number):
        print(f"CI built this recipe for #{before['pull_request']}: restoring it")
        data, restored = ledger.lock(str(before["lock_sha256"])), True
    elif champion := ledger.champion():
        print(f"starting from {champion['tag']}, which is in production")
        git.bring(champion["commit"])
        data = git.show(champion["commit"], "dvc.lock")
    file = Path("dvc.lock")
    file.unlink(missing_ok=True)  # a committed one, which may be a link
    if data is None:
        print("there is no version yet: building every stage")
        return None, False
    file.write_bytes(data)
    return lock.parse(data), restored


def reproduce() -> list[str]:
    """Run `dvc repro` without a run-cache or a token; return the stages it ran."""
    sandbox.seal()
    with TemporaryDirectory() as site:
        try:
            return stages.reproduce(machine.environment(DVC_SITE_CACHE_DIR=site))
        except stages.StageError as error:
            raise github.fail(str(error)) from error


def pack(facts: Mapping[str, object]) -> None:
    """Copy the outputs into one folder and check that a server can load them."""
    shutil.rmtree(ARTIFACT, ignore_errors=True)
    ARTIFACT.mkdir()
    made = lock.read()
    for out in made.outs if made else ():
        shutil.copyfile(out.path, ARTIFACT / out.name)
    for name in ("dvc.lock", "contract.yaml"):
        shutil.copyfile(name, ARTIFACT / name)
    (ARTIFACT / "build.json").write_text(json.dumps(facts, indent=2, sort_keys=True))
    smoke = [sys.executable, "-m", "mlgitops.serving.smoke", str(ARTIFACT)]
    if subprocess.run(smoke).returncode:
        raise github.fail("the server cannot load this model: see the error above")
    manifest = (ARTIFACT / "manifest.json").read_bytes()
    print(f"manifest: {hashlib.sha256(manifest).hexdigest()}")


def _fork(event: Mapping[str, Any]) -> str:
    """Return why storage may be out of reach, if this is a fork."""
    pull = event.get("pull_request") or {}
    repos = [(pull.get(end) or {}).get("repo") or {} for end in ("head", "base")]
    if repos[0].get("full_name") == repos[1].get("full_name"):
        return ""
    return (
        " (a fork has no login to storage: a maintainer must push the data, or this "
        "branch, to the repository itself)"
    )
