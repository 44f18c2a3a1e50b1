"""From files to a verdict: identify, bring the champion, judge in a child, decide."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlgitops import git, github, judgement, lock, report, storage
from mlgitops.judge import identity, requests, sandbox
from mlgitops.judgement import TITLES, Check, Judgement, Refused
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.lock import Lock, Out
from mlgitops.machinery import machinery
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.serving.verify import VerifyError, sha256_file, verify

Facts = dict[str, Any]
DECIDE = "It can merge once its dvc.lock is the one that CI built."


class Unsound(Exception):
    """Something of ours is wrong, not of the proposal: no verdict can be given."""


ERRORS = (
    git.GitError,
    github.GitHubError,
    storage.StorageError,
    LedgerError,
    lock.LockError,
    ContractError,
    Unsound,
)


@dataclass
class Case:
    """One challenger before the judge, and all that is found out about it."""

    folder: Path
    built: Lock
    read: identity.Read
    pointers: Mapping[str, Out]
    ledger: Ledger
    raw: Path | None = None
    manifest: identity.Manifest | None = None
    manifest_sha256: str | None = None
    champion: Facts | None = None
    champion_manifest: identity.Manifest | None = None
    found: Judgement = field(default_factory=Judgement)
    checks: list[Check] = field(default_factory=list)
    override: Facts | None = None
    unplayed: str = ""

    @property
    def challenger(self) -> Path:
        """Where the files of the challenger lie."""
        return self.folder / "challenger"

    @property
    def data_sha256(self) -> str | None:
        """Which data the challenger is from, and so which holdout decides."""
        found = (self.manifest or {}).get("data", {}).get("sha256")
        return None if found is None else str(found)

    @property
    def passed(self) -> bool:
        """Whether every check did, or was overruled; without a check, no."""
        over = set(self.override["checks"]) if self.override else set()
        return bool(self.checks) and all(
            check.passed or check.id in over for check in self.checks
        )

    @property
    def unchanged(self) -> bool:
        """Whether this is the model that production has already."""
        now = self.champion and self.champion["manifest_sha256"]
        return bool(now) and now == self.manifest_sha256


def consider(case: Case) -> None:
    """Fill in the case; what the proposal got wrong ends up as a failed check."""
    try:
        manifest = identity.identify(case.challenger, case.built, case.read)
        lock_bytes = (case.challenger / "dvc.lock").read_bytes()
        raw = identity.raw_data(lock_bytes, dict(case.pointers))
        case.champion = case.ledger.champion()
        case.manifest_sha256 = sha256_file(case.challenger / "manifest.json")
        try:
            if not case.unchanged:
                _bring(case, raw)
                identity.check_raw(case.folder / "raw.parquet", manifest)
        except Refused:
            case.manifest_sha256 = None
            raise
        case.manifest = manifest
        why = "model, data, contract, params and requirements are the ones proposed"
        case.checks.append(_passed("identity", why))
        if case.unchanged:
            why = "the model is the one that production has: nothing to compare"
            case.checks.append(_passed("no_change", why, gate=True))
            return
        if case.champion:
            case.unplayed = requests.bring(case.folder, contract())
        sandbox.run("judge", "mlgitops.judge.judge", case.folder)
        case.found = judgement.read((case.folder / "judgement.json").read_bytes())
        case.checks += case.found.checks
    except Refused as refusal:
        case.checks.append(refusal.check)


def _passed(check: str, reason: str, gate: bool = False) -> Check:
    """Return a check without a number, that passed."""
    return Check(id=check, title=TITLES[check], passed=True, reason=reason, gate=gate)


def summary(case: Case) -> str:
    """Say the verdict and its reason in one sentence."""
    if not case.passed:
        bad = judgement.failed(case.checks)
        return "; ".join(f"{c.title}: {c.reason.rstrip('.')}" for c in bad) + "."
    if case.unchanged:
        return "The model is the one that production has: no model change."
    if case.override:
        by, names = case.override["by"], ", ".join(case.override["checks"])
        return f"Refused by {names}, overruled by {by}: {case.override['reason']}."
    head = case.found.primary_metric
    if head is None:
        raise Unsound("every check passed, but nothing was measured")
    if head.champion is None:
        alone = "Nothing is compared" if case.champion else "No champion yet"
        return (
            f"{alone}: {head.label} {head.challenger:.4f} is above the floor, "
            "and every other check passed."
        )
    gate = next(c for c in case.checks if c.id == f"{head.id}.margin")
    return (
        f"{head.label} {head.champion:.4f} → {head.challenger:.4f}: "
        f"{gate.reason}. Every check passed."
    )


def params_diff(old: Facts | None, new: Facts | None) -> list[report.Setting]:
    """Return name, old and new value of every setting of training that differs."""
    before, after = _flat((old or {}).get("params")), _flat((new or {}).get("params"))
    names = sorted(before.keys() | after.keys()) if old else []
    return [
        report.Setting(name, before.get(name, "none"), after.get(name, "none"))
        for name in names
        if before.get(name) != after.get(name)
    ]


def facts(case: Case, state: report.State, step: str = "") -> report.Facts:
    """Return what the report says of a case."""
    return report.Facts(
        judgement=case.found,
        state=state,
        next=step,
        verdict=summary(case) + (f" {DECIDE}" if state == "decide" else ""),
        checks=case.checks,
        manifest_sha256=case.manifest_sha256 or "",
        data_sha256=case.data_sha256 or "",
        no_replay=case.unplayed,
        machinery=str(machinery()),
        project=os.environ.get("GITHUB_REPOSITORY") or Path.cwd().name,
        model=str((case.manifest or {}).get("name", "")),
        champion=str((case.champion or {}).get("version", "")),
        date=datetime.now(UTC).date().isoformat(),
        params=params_diff(case.champion_manifest, case.manifest),
        cautions=[report.text(caution, 400) for caution in case.found.cautions],
    )


def _bring(case: Case, raw: Out) -> None:
    """Put the raw data and the champion's files into the folder, checked."""
    into, wanted = case.folder / "champion", {}
    if case.raw:
        shutil.copyfile(case.raw, case.folder / "raw.parquet")
    else:
        wanted[case.folder / "raw.parquet"] = raw
    if case.champion:
        into.mkdir()
        wanted |= {into / out.name: out for out in _champion_files(case.champion)}
        if before := _before(case.champion, raw):
            wanted[into / "raw.parquet"] = before
    for place, problem in storage.bring(wanted).items():
        if place != into / "raw.parquet":
            raise problem
        print(f"what changed in the data is not known: {problem}")
    if case.champion:
        contract = git.show(case.champion["commit"], "contract.yaml") or b""
        (into / "contract.yaml").write_bytes(contract)
        try:
            sha256 = case.champion["manifest_sha256"]
            case.champion_manifest = verify(into, sha256)
        except VerifyError as error:
            why = f"the champion in storage is not the version in the ledger: {error}"
            raise Unsound(why) from error


def contract() -> Contract:
    """Return main's contract."""
    return Contract.read(Path("contract.yaml").read_bytes())


def _before(release: Facts, raw: Out) -> Out | None:
    """Return the champion's data, if it is other data and known."""
    commit = release["commit"]
    try:
        locked = git.show(commit, "dvc.lock") or b""
        then = identity.raw_data(locked, lock.pointers(commit))
    except (Refused, lock.LockError) as error:
        print(f"what changed in the data is not known: {error}")
        return None
    return then if then.md5 != raw.md5 else None


def _champion_files(release: Facts) -> list[Out]:
    """Return the model and the manifest that production was given."""
    at = lock.at(release["commit"])
    if at is None:
        raise Unsound(f"commit {release['commit']} of the champion has no dvc.lock")
    return [at.out("model.onnx"), at.out("manifest.json")]


def _flat(value: Any, name: str = "") -> dict[str, object]:
    """Return nested settings with dotted names."""
    if not isinstance(value, dict):
        return {name: value} if name else {}
    parts = (_flat(v, f"{name}.{k}" if name else str(k)) for k, v in value.items())
    return {key: inner for part in parts for key, inner in part.items()}
