"""Builds a version again from its tag, and compares the bytes.

    make reproduce VERSION=v1.0.0        (without a version: what production has)

In a clean clone at the tag's commit, with that commit's own hashed requirements, from
the data that it points to. On the type of processor that built the version the bytes
have to be the same; on another the metrics, within a tolerance. It only reads.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from mlgitops import git, github, lock, machine, storage
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.lock import Lock, Out
from mlgitops.release import ReleaseError, admit, model_name, on_main, registry
from mlgitops.release.registry import Version

# What goes in: if one of these differs, the tag does not hold what was registered.
INPUTS = ("data", "code", "requirements", "contract", "params", "threshold", "columns")
METRICS = "metrics.json"
TOLERANCE = 0.001  # of every metric, where the processor is of another type
PINS = "requirements/pipeline.txt"


def main() -> None:
    """Reproduce, and say the outcome as one sentence; exit 1 if it differs."""
    try:
        sentence = reproduce("".join(sys.argv[1:2]))
    except (ReleaseError, LedgerError, git.GitError, storage.StorageError) as error:
        raise github.fail(str(error)) from error
    except lock.LockError as error:
        raise github.fail(str(error)) from error
    github.tell(sentence)


def reproduce(wanted: str = "") -> str:
    """Return how a version was reproduced, as one sentence.

    Raises:
        ReleaseError: it was not, and which file, input or metric differs.
    """
    if wanted:
        registry.spelt(wanted)
    ledger, name = Ledger(), model_name()
    if git.has_remote():
        registry.fetch(name)
    champion = ledger.champion()
    if not wanted and champion is None:
        return "Nothing to reproduce: production has no version yet."
    version = registry.get(name, wanted or str((champion or {})["version"]))
    if not on_main(version.commit):
        raise ReleaseError(f"{version.tag} is on {version.commit}, which main lacks")
    with TemporaryDirectory(prefix="reproduce-") as folder:
        clone, kept = Path(folder, "clone"), Path(folder, "kept")
        expected = admit.locked(version.commit)
        manifest = admit.bring(version.commit, kept, version.manifest_sha256).manifest
        checkout(version, clone)
        programs = environment(clone / PINS, Path(".venv").resolve())
        built = build(clone, programs)
        again = json.loads((clone / built.out("manifest.json").path).read_bytes())
        if said := [key for key in INPUTS if again.get(key) != manifest.get(key)]:
            raise ReleaseError(_inputs(version, said, manifest, again))
        other = [out.path for out in expected.outs if not _same(out, built)]
        if not other:
            return (
                f"{version.tag} is reproduced: {len(expected.outs)} of "
                f"{len(expected.outs)} files have the same bytes, manifest "
                f"{version.manifest_sha256}."
            )
        found = clone / built.out(METRICS).path
        return by_metrics(version, ledger, other, expected, found)


def checkout(version: Version, clone: Path) -> None:
    """Put a clean clone at the version's commit in a folder, with its data."""
    git.run("clone", "-q", "--shared", "--no-checkout", ".", str(clone))
    git.run("checkout", "-q", "--detach", version.commit, cwd=clone)
    stages = (yaml.safe_load((clone / "dvc.yaml").read_bytes()) or {})["stages"]
    named = {str(dep) for body in stages.values() for dep in body.get("deps") or []}
    for path, out in lock.pointers(version.commit).items():
        if path in named:
            storage.pull([out], (clone / path).parent)
    (clone / "dvc.lock").unlink()  # so that every stage runs


def environment(pins: Path, home: Path) -> Path:
    """Install exactly what pins name, hashes checked; return where its programs are.

    There is one environment per set of pins; it is kept, and synchronized each time.
    """
    name = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    venv = home / f"reproduce-{name}"
    python, here = str(venv / "bin" / "python"), Path(sys.executable).parent
    uv = shutil.which("uv", path=f"{here}{os.pathsep}{os.environ['PATH']}")
    hashed = ("--quiet", "--require-hashes")
    make: tuple[str, ...]
    fill: tuple[str, ...]
    if uv:
        make = (uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable)
        fill = (uv, "pip", "sync", "--python", python, *hashed, str(pins))
    else:
        make = (sys.executable, "-m", "venv", "--clear")
        fill = (python, "-m", "pip", "install", *hashed, "-r", str(pins))
    for command in ((*make, str(venv)), fill):
        _run(command, pins.parent, f"{PINS} of that commit cannot be installed")
    return venv / "bin"


def build(clone: Path, programs: Path) -> Lock:
    """Run every stage, without a login and without DVC's run-cache."""
    options = ("--no-run-cache", "--allow-missing")
    command = (str(programs / "python"), "-m", "dvc", "repro", *options)
    _run(command, clone, "its stages do not run any more", programs)
    built = lock.read(clone / "dvc.lock")
    if built is None:
        raise ReleaseError("`dvc repro` wrote no dvc.lock: dvc.yaml names no stage")
    return built


def by_metrics(
    version: Version, ledger: Ledger, other: list[str], expected: Lock, found: Path
) -> str:
    """Judge other bytes: by the metrics, where the processor is of another type.

    Raises:
        ReleaseError: the processor is the same, or a metric is too far away.
    """
    files = ", ".join(other)
    here, there = machine.cpu(), built_on(ledger, version)
    if here == there:
        raise ReleaseError(
            f"{version.tag} is not reproduced: {files} have other bytes, on the same "
            f"type of processor ({here}) and from the same data, code and requirements"
        )
    with TemporaryDirectory() as folder:
        storage.pull([expected.out(METRICS)], Path(folder))
        before = json.loads(Path(folder, METRICS).read_bytes())
    after = json.loads(found.read_bytes())
    cpus = f"this is {here}, it was built on {there or 'an unknown type'}"
    if said := far(before, after):
        raise ReleaseError(
            f"{version.tag} is not reproduced: {', '.join(said)}, more than "
            f"{TOLERANCE:g} away ({cpus})"
        )
    return (
        f"{version.tag} is reproduced by its metrics, within {TOLERANCE:g}, not by its "
        f"bytes: {files} differ, and {cpus}."
    )


def built_on(ledger: Ledger, version: Version) -> str:
    """Return the type of processor that built a version, as the ledger knows it."""
    found = admit.verdicts(ledger, version.manifest_sha256)
    return next((str(v["cpu"]) for v in found if v["passed"] and v.get("cpu")), "")


def far(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the metrics that are further apart than the tolerance, in words."""
    return [
        f"{name} is {after.get(name)} instead of {value}"
        for name, value in before.items()
        if isinstance(value, float)
        and not abs(float(after.get(name, "nan")) - value) <= TOLERANCE
    ]


def _same(out: Out, built: Lock) -> bool:
    """Tell whether the file that a lock names came out again."""
    return any((o.path, o.md5) == (out.path, out.md5) for o in built.outs)


def _inputs(
    version: Version,
    keys: list[str],
    registered: Mapping[str, Any],
    built: Mapping[str, Any],
) -> str:
    """Say which inputs at the tag are not those that the manifest names."""
    said = []
    for key in keys:
        one, other = registered.get(key), built.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            parts = sorted(k for k in {*one, *other} if one.get(k) != other.get(k))
            said += [f"{key}.{part}" for part in parts]
        else:
            said.append(key)
    return (
        f"{version.tag} is not reproduced: what its commit {version.commit[:12]} holds "
        f"is not what was registered; {', '.join(said)} differ from the manifest"
    )


def _run(
    command: tuple[str, ...], clone: Path, why: str, programs: Path | None = None
) -> None:
    """Run a program in the clone, without a login; its last words if it fails."""
    env = machine.environment(DVC_SITE_CACHE_DIR=str(clone.parent / "site"))
    if programs:
        env["PATH"] = f"{programs}:{env['PATH']}"
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no words"]
        raise ReleaseError(f"not reproduced: {why}: {words[-1][:300]}")
