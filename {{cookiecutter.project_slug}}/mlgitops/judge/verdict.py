"""From files to a verdict: identify, bring the champion, judge in a child, decide."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mlgitops import built, git, github, judgement, lock, report, settings, storage
from mlgitops.judge import identity, licence, requests, sandbox
from mlgitops.judge.artifact import TRAINED
from mlgitops.judge.checks import passed
from mlgitops.judgement import Check, Judgement, Refused
from mlgitops.ledger import Ledger, LedgerError, Record
from mlgitops.lock import Lock, Out
from mlgitops.machinery import machinery
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.serving.verify import VerifyError, sha256_file, verify


class ValidationError(Exception):
    """No verdict can be given, and the proposal is not the cause."""


ERRORS = (
    git.GitError,
    github.GitHubError,
    storage.StorageError,
    LedgerError,
    lock.LockError,
    ContractError,
    ValidationError,
)


@dataclass
class Case:
    """One challenger before the judge, and all that is known about it."""

    folder: Path
    built: Lock
    read_file: identity.ReadFile
    pointers: Mapping[str, Out]
    ledger: Ledger
    recipe: str = ""  # of what was proposed
    number: int = 0  # of its pull request
    raw: Path | None = None
    manifest: identity.Manifest | None = None
    manifest_sha256: str | None = None
    champion: Record | None = None
    champion_manifest: identity.Manifest | None = None
    judgement: Judgement = field(default_factory=Judgement)
    checks: list[Check] = field(default_factory=list)
    override: Record | None = None
    returns: Record | None = None  # which withdrawal it undoes on purpose
    not_replayed: str = ""

    @property
    def challenger(self) -> Path:
        """The folder of the challenger's files."""
        return self.folder / "challenger"

    @property
    def data_sha256(self) -> str | None:
        """Which data the challenger is from, and so which holdout decides."""
        return str(self.manifest["data"]["sha256"]) if self.manifest else None

    @property
    def passed(self) -> bool:
        """Whether every check passed or was overruled; without a check, no."""
        overruled = self.override["checks"] if self.override else ()
        return bool(self.checks) and all(
            check.passed or check.id in overruled for check in self.checks
        )

    @property
    def unchanged(self) -> bool:
        """Whether this is the model that production has already."""
        champion = self.champion and self.champion["manifest_sha256"]
        return bool(champion) and champion == self.manifest_sha256


def consider(case: Case) -> None:
    """Fill in the case; what the proposal got wrong ends up as a failed check."""
    try:
        _identify(case)
        reason = "model, data, contract, params and requirements are the ones proposed"
        case.checks.append(passed("identity", reason))
        if case.unchanged:
            reason = "the model is the one that production has: nothing to compare"
            case.checks.append(passed("no_change", reason, gate=True))
            return
        if case.manifest:
            case.checks += licence.permitted(
                case.folder,
                case.manifest,
                case.read_file,
                contract().task,
                partial(_model_of, case.ledger),
            )
        if case.champion:
            case.not_replayed = requests.bring(case.folder, contract())
        sandbox.run("judge", "mlgitops.judge.judge", case.folder, folder=case.folder)
        case.judgement = judgement.decode((case.folder / "judgement.json").read_bytes())
        case.checks += case.judgement.checks
        _add_shadow(case)
    except Refused as refusal:
        case.checks.append(refusal.check)


def _add_shadow(case: Case) -> None:
    """Add what a shadow of this version found, which nothing of it can write."""
    from mlgitops.judge import gates, shadow  # `build` starts without their pandas

    terms = contract()
    rules = gates.parse(settings.load(Path("params.yaml").read_bytes()), terms.task)
    case.judgement.shadow = None
    if case.champion and case.manifest_sha256:
        champion = case.champion["manifest_sha256"]
        versions = (case.manifest_sha256, champion)
        found = shadow.compare(*versions, terms, rules.rules.confidence)
        case.judgement.shadow = found
        case.checks += shadow.checked(found, rules.rules)


def _identify(case: Case) -> None:
    """Fill in what the challenger is, once it is what the proposal describes."""
    _unchanged_recipe(case)
    manifest = identity.identify(case.challenger, case.built, case.read_file)
    lock_bytes = (case.challenger / "dvc.lock").read_bytes()
    raw = identity.raw_data(lock_bytes, case.pointers)
    case.champion = case.ledger.champion()
    case.manifest_sha256 = sha256_file(case.challenger / "manifest.json")
    try:
        if not case.unchanged:
            _bring(case, raw, licence.file(manifest))
            identity.check_raw(case.folder / "raw.parquet", manifest)
    except Refused:
        case.manifest_sha256 = None
        raise
    case.manifest = manifest


def _model_of(ledger: Ledger, tag: str) -> str | None:
    """Return the md5 of the model of a version that was released, by its tag."""
    for record in ledger.releases():
        if record.get("tag") == tag:
            git.bring(record["commit"])
            locked = lock.at(record["commit"])
            return locked.out("model.onnx").md5 if locked else None
    return None


def _unchanged_recipe(case: Case) -> None:
    """Refuse other bytes of a recipe than those that it has already.

    CI restores them, so that it does not matter where a recipe is built once more.
    """
    recipe, number = case.recipe, case.number
    before = built.to_restore(case.ledger, recipe, number) if recipe else None
    if before is None:
        return
    if lock.parse(case.ledger.lock(before["lock_sha256"])).outs != case.built.outs:
        raise Refused(
            "lock",
            f"what is proposed was built before, for #{before['pull_request']}, as "
            f"{before['manifest_sha256'][:12]}, and other bytes were uploaded: run "
            "`train` again, which restores those",
        )


def summary(case: Case) -> str:
    """Say the verdict and its reason in one sentence."""
    if not case.passed:
        failed = judgement.failed(case.checks)
        return "; ".join(f"{c.title}: {c.reason.rstrip('.')}" for c in failed) + "."
    if case.unchanged:
        return "The model is the one that production has: no model change."
    if case.override:
        person, names = case.override["by"], ", ".join(case.override["checks"])
        return f"Refused by {names}, overruled by {person}: {case.override['reason']}."
    metric = case.judgement.primary_metric
    if metric is None:
        raise ValidationError("every check passed, but the primary metric is missing")
    if metric.champion is None:
        alone = "Nothing is compared" if case.champion else "No champion yet"
        return (
            f"{alone}: {metric.label} {metric.challenger:.4f} is above the floor, "
            "and every check that applies passed."
        )
    gate = next(c for c in case.checks if c.id == f"{metric.id}.margin")
    return (
        f"{metric.label} {metric.champion:.4f} → {metric.challenger:.4f}: "
        f"{gate.reason}. Every check passed."
    )


def facts(case: Case, state: report.State, next_step: str = "") -> report.Facts:
    """Return what the report says of a case."""
    return report.Facts(
        judgement=case.judgement,
        state=state,
        next=next_step,
        verdict=summary(case),
        checks=case.checks,
        manifest_sha256=case.manifest_sha256 or "",
        data_sha256=case.data_sha256 or "",
        no_replay=case.not_replayed,
        machinery=str(machinery()),
        project=os.environ.get("GITHUB_REPOSITORY") or Path.cwd().name,
        model=str((case.manifest or {}).get("name", "")),
        champion=str((case.champion or {}).get("version", "")),
        date=datetime.now(UTC).date().isoformat(),
        params=_changed_params(case),
        cautions=[report.text(caution, 400) for caution in case.judgement.cautions],
    )


def _changed_params(case: Case) -> list[report.Setting]:
    """Return name and both values of every setting of training that differs."""
    if not case.champion_manifest:
        return []
    manifests = (case.champion_manifest, case.manifest or {})
    champion, challenger = (_flat(manifest.get("params")) for manifest in manifests)
    return [
        report.Setting(name, champion.get(name, "none"), challenger.get(name, "none"))
        for name in sorted(champion.keys() | challenger.keys())
        if champion.get(name) != challenger.get(name)
    ]


def _flat(value: object, name: str = "") -> dict[str, object]:
    """Return nested settings with dotted names."""
    if not isinstance(value, dict):
        return {name: value} if name else {}
    parts = (_flat(v, f"{name}.{k}" if name else str(k)) for k, v in value.items())
    return {key: inner for part in parts for key, inner in part.items()}


def contract() -> Contract:
    """Return main's contract."""
    return Contract.read(Path("contract.yaml").read_bytes())


def _bring(case: Case, raw: Out, frozen: str) -> None:
    """Put the raw data and the champion's files into the folder, checked.

    And the pretrained file, where one is named and DVC tracks it.
    """
    champion, outs = case.folder / "champion", {}
    if case.raw:
        shutil.copyfile(case.raw, case.folder / "raw.parquet")
    else:
        outs[case.folder / "raw.parquet"] = raw
        if frozen in case.pointers:
            outs[case.folder / licence.FILE] = case.pointers[frozen]
    if case.champion:
        champion.mkdir()
        git.bring(case.champion["commit"])
        outs |= _champion_files(case.champion["commit"], champion, raw)
    for path, problem in storage.bring(outs).items():
        if path != champion / "raw.parquet":
            raise problem
        print(f"what changed in the data is not known: {problem}")
    if case.champion:
        commit, sha256 = case.champion["commit"], case.champion["manifest_sha256"]
        contract = git.show(commit, "contract.yaml") or b""
        (champion / "contract.yaml").write_bytes(contract)
        try:
            case.champion_manifest = verify(champion, sha256)
        except VerifyError as error:
            raise ValidationError(
                f"the champion in storage is not the version in the ledger: {error}"
            ) from error


def _by_time(params: bytes | None) -> bool:
    """Tell whether rows are split by time: then a time says what a model has seen."""
    section = settings.load(params or b"prepare:").get("prepare")
    kind = section.get("split", "time") if isinstance(section, Mapping) else "time"
    return bool(kind == "time")  # as all were before there was a choice


def _champion_files(commit: str, folder: Path, raw: Out) -> dict[Path, Out]:
    """Return the champion's model and manifest, and its data if other and known.

    And the table that it was trained on, unless both splits are by time.
    """
    locked = lock.at(commit)
    if locked is None:
        raise ValidationError(f"commit {commit} of the champion has no dvc.lock")
    names = ["model.onnx", "manifest.json"]
    params = (git.show(commit, "params.yaml"), Path("params.yaml").read_bytes())
    if not all(map(_by_time, params)):
        names.append(TRAINED)
    outs = {folder / name: locked.out(name) for name in names}
    try:
        lock_bytes = git.show(commit, "dvc.lock") or b""
        data = identity.raw_data(lock_bytes, lock.pointers(commit))
    except (Refused, lock.LockError) as error:
        print(f"what changed in the data is not known: {error}")
        return outs
    return outs if data.md5 == raw.md5 else outs | {folder / "raw.parquet": data}
