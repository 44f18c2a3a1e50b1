"""Builds a version again from its tag, and compares the bytes.

    make reproduce VERSION=v1.0.0        (without a version: the one in production)

It builds in a clean clone at the tag's commit, with that commit's hashed requirements
and data. On the type of processor that built the version, the bytes must be the same;
on another type, the metrics must agree within a tolerance. It changes nothing.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github, lock, machine, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock
from mlgitops.release import ReleaseError, eligibility, model_name, registry
from mlgitops.release.registry import Version

# If one of these differs, the tag does not hold what was registered.
INPUTS = ("data", "code", "requirements", "contract", "params", "business", "columns")
METRICS = "metrics.json"
TOLERANCE = 0.001  # of every metric, where the processor is of another type
PINS = "requirements/pipeline.txt"


def main() -> None:
    """Reproduce, and print the result as one sentence; exit 1 if it differs."""
    with expected_errors():
        github.tell(reproduce("".join(sys.argv[1:2])))


def reproduce(version_name: str = "") -> str:
    """Build a version again and return the result as one sentence.

    Raises:
        ReleaseError: a file, an input or a metric differs.
    """
    if version_name:
        registry.check_format(version_name)
    ledger, name = Ledger(), model_name()
    if git.has_remote():
        registry.fetch(name)
    if not version_name:
        champion = ledger.champion()
        if champion is None:
            return "Nothing to reproduce: production has no version yet."
        version_name = str(champion["version"])
    version = registry.get(name, version_name)
    eligibility.refuse_retired(ledger, version.manifest_sha256, version.tag)
    eligibility.demand_merged(version)
    with TemporaryDirectory(prefix="reproduce-") as folder:
        clone, kept = Path(folder, "clone"), Path(folder, "kept")
        expected = eligibility.locked(version.commit)
        manifest = eligibility.bring(
            version.commit, kept, version.manifest_sha256
        ).manifest
        checkout(version, clone)
        programs = environment(clone / PINS, Path(".venv").resolve())
        built = build(clone, programs)
        rebuilt = json.loads((clone / built.out("manifest.json").path).read_bytes())
        inputs = [*INPUTS]
        if (
            "business" not in manifest
        ):  # else the threshold was chosen, as the model was
            inputs.append("threshold")
        if changed := [key for key in inputs if rebuilt.get(key) != manifest.get(key)]:
            raise ReleaseError(_inputs(version, changed, manifest, rebuilt))
        md5s = {(out.path, out.md5) for out in built.outs}
        different = [o.path for o in expected.outs if (o.path, o.md5) not in md5s]
        if not different:
            count = len(expected.outs)
            return (
                f"{version.tag} is reproduced: {count} of {count} files have the same "
                f"bytes, manifest {version.manifest_sha256}."
            )
        metrics_file = clone / built.out(METRICS).path
        return by_metrics(version, ledger, different, expected, metrics_file)


def checkout(version: Version, clone: Path) -> None:
    """Clone the version's commit and its data into a folder."""
    git.run("clone", "-q", "--shared", "--no-checkout", ".", str(clone))
    git.run("checkout", "-q", "--detach", version.commit, cwd=clone)
    for out in lock.inputs(version.commit):
        storage.pull([out], (clone / out.path).parent)
    (clone / "dvc.lock").unlink()  # so that every stage runs


def environment(pins: Path, home: Path) -> Path:
    """Install the pinned requirements, hashes checked; return the folder of programs.

    There is one environment per set of pins; it is kept, and synchronized each time.
    """
    venv = home / f"reproduce-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    python = ("--quiet", "--python")
    create = ("uv", "venv", "--allow-existing", *python, sys.executable, str(venv))
    sync = ("uv", "pip", "sync", "--require-hashes", *python, str(venv / "bin/python"))
    for command in (create, (*sync, str(pins))):
        failure = f"{PINS} of that commit cannot be installed"
        _run(command, pins.parent, failure, Path(sys.executable).parent)
    return venv / "bin"


def build(clone: Path, programs: Path) -> Lock:
    """Run every stage, without credentials and without DVC's run-cache."""
    options = ("--no-run-cache", "--allow-missing")
    command = (str(programs / "python"), "-m", "dvc", "repro", *options)
    _run(command, clone, "its stages fail", programs)
    built = lock.read(clone / "dvc.lock")
    if built is None:
        raise ReleaseError("`dvc repro` wrote no dvc.lock: dvc.yaml has no stage")
    return built


def by_metrics(
    version: Version,
    ledger: Ledger,
    different: list[str],
    expected: Lock,
    metrics_file: Path,
) -> str:
    """Compare the metrics of different bytes, if the type of processor differs.

    Raises:
        ReleaseError: the processor is the same, or a metric is too far away.
    """
    files = ", ".join(different)
    cpu, original_cpu = machine.cpu(), built_on(ledger, version)
    if cpu == original_cpu:
        raise ReleaseError(
            f"{version.tag} is not reproduced: other bytes in {files}, on the same "
            f"type of processor ({cpu}) and from the same data, code and requirements"
        )
    with TemporaryDirectory() as folder:
        storage.pull([expected.out(METRICS)], Path(folder))
        before = json.loads(Path(folder, METRICS).read_bytes())
    after = json.loads(metrics_file.read_bytes())
    cpus = f"this is {cpu}, it was built on {original_cpu or 'an unknown type'}"
    if distances := metric_changes(before, after):
        raise ReleaseError(
            f"{version.tag} is not reproduced: {', '.join(distances)}, with a "
            f"tolerance of {TOLERANCE:g} ({cpus})"
        )
    return (
        f"{version.tag} is reproduced by its metrics, within {TOLERANCE:g}, but not by "
        f"its bytes: other bytes in {files}, and {cpus}."
    )


def built_on(ledger: Ledger, version: Version) -> str:
    """Return the type of processor that built a version, from the ledger."""
    verdicts = ledger.verdicts(version.manifest_sha256)
    return next((str(v["cpu"]) for v in verdicts if v["passed"] and v.get("cpu")), "")


def metric_changes(
    before: Mapping[str, object], after: Mapping[str, object]
) -> list[str]:
    """Return a phrase for each metric that differs by more than the tolerance."""
    return [
        f"{name} is {after.get(name)} instead of {value}"
        for name, value in before.items()
        if isinstance(value, float) and not _close(after.get(name), value)
    ]


def _close(value: object, expected: float) -> bool:
    """Tell whether a metric is a number within the tolerance."""
    return isinstance(value, int | float) and abs(value - expected) <= TOLERANCE


def _inputs(
    version: Version,
    keys: list[str],
    registered: Mapping[str, object],
    built: Mapping[str, object],
) -> str:
    """Return the error that lists the inputs that differ from the manifest."""
    differences = []
    for key in keys:
        before, after = registered.get(key), built.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            parts = sorted({*before, *after})
            differences += [
                f"{key}.{part}" for part in parts if before.get(part) != after.get(part)
            ]
        else:
            differences.append(key)
    return (
        f"{version.tag} is not reproduced: its commit {version.commit[:12]} does not "
        f"hold what was registered, by the manifest: {', '.join(differences)}"
    )


def _run(
    command: tuple[str, ...], clone: Path, failure: str, programs: Path | None = None
) -> None:
    """Run a program in the clone, without credentials; report its last line.

    ``programs`` is a folder to look for it before those on PATH.
    """
    env = machine.environment(DVC_SITE_CACHE_DIR=str(clone.parent / "site"))
    if programs:
        env["PATH"] = f"{programs}:{env['PATH']}"
    try:
        done = subprocess.run(
            command, cwd=clone, env=env, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise ReleaseError(f"not reproduced: no {command[0]}: `make setup`") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise ReleaseError(f"not reproduced: {failure}: {lines[-1][:300]}")
