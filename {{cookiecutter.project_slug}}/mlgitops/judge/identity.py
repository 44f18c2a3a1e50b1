"""Is what was uploaded the version that this proposal describes, byte for byte?

Until this says yes, nothing is recorded under the version's name: else a stranger could
upload somebody else's manifest and have it condemned.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mlgitops.judge import artifact
from mlgitops.judgement import Refused
from mlgitops.lock import Lock, Out, is_table
from mlgitops.pipeline import intervals, manifest, settings
from mlgitops.pipeline.contract import Contract, ContractError, mapping
from mlgitops.pipeline.contract import plain as as_json
from mlgitops.pipeline.schema import shown
from mlgitops.serving.verify import MANIFEST, VerifyError, sha256_file, verify

ReadFile = Callable[[str], bytes | None]
Manifest = dict[str, Any]
LARGEST = 1e15  # number of rows, or difference
DATA = {"sha256", "train_sha256", "train_rows"}
TIMES = {"train_from", "train_until"}  # of a contract with a time
SOURCE = re.compile(r"(mlgitops|model)/[A-Za-z0-9_/-]{1,90}\.py")
MOST_FILES = 100  # of code


def identify(folder: Path, built: Lock, read_file: ReadFile) -> Manifest:
    """Return the manifest once it is the one that the proposal's own files give.

    It is written again from them, and compared. Of what is not compared here, the
    judge compares the golden rows and the training window with the tables; only
    `claimed` is the build's own word. ``read_file`` gives the bytes of a file of the
    proposal, merged into its base.

    Raises:
        Refused: with the first thing that differs.
    """
    artifact.check_objects(folder, built)
    try:
        version = verify(folder)
    except VerifyError as error:
        reason = str(error).replace(f"{folder}/", "")
        raise Refused("manifest", reason) from error
    check_types(version)
    try:
        expected = _expected(folder, version, read_file)
        different = next(_differences(version, json.loads(expected)), None)
    except ContractError as error:
        raise Refused("manifest", str(error)) from error
    except RecursionError as error:
        raise Refused("manifest", "the manifest is nested too deep") from error
    except (TypeError, ValueError) as error:
        reason = "params.yaml holds values that a manifest cannot, such as a date"
        raise Refused("manifest", reason) from error
    if different:
        entry, actual, proposed = different
        reason = (
            f"the manifest says that {entry} is {shown(actual)}, but the files of this "
            f"proposal give {shown(proposed)}: build it again (`make repro` here, the "
            "workflow `train` on GitHub); if it stays so, name all that the stage "
            "reads in dvc.yaml, as deps or params"
        )
        raise Refused("manifest", reason)
    if (folder / MANIFEST).read_bytes() != expected.encode():
        raise Refused("manifest", "manifest.json is not as the stage train writes it")
    return version


def _expected(folder: Path, version: Manifest, read_file: ReadFile) -> str:
    """Return the manifest's text as the proposal's own files give it."""
    contract, params, requirements = (
        read_file(name) or b""
        for name in ("contract.yaml", "params.yaml", "requirements/pipeline.txt")
    )
    document = mapping(contract, "contract.yaml")
    terms = Contract.parse(document)
    recipe = settings.train(settings.load(params), terms.task)
    entries = {}
    if recipe.intervals:  # the judge finds rows and quantile again (judge/intervals.py)
        stated = version.get("intervals") or {}
        numbers = (stated.get("rows"), stated.get("quantile"))
        found = intervals.entry(recipe.intervals, terms.task, *numbers)
        entries["intervals"] = found
    if recipe.worth:  # the build alone knows it; the gates judge the number itself
        recipe = replace(recipe, threshold=chosen_threshold(version))
    return manifest.manifest(
        terms,
        recipe,
        ("model.onnx", (folder / "model.onnx").read_bytes()),
        contract={
            "sha256": manifest.sha256(contract),
            "json_sha256": manifest.sha256(as_json(document)),
        },
        data={**version["data"], "train_sha256": sha256_file(folder / "train.parquet")},
        code=manifest.code(_code(version["code"]["files"], read_file)),
        requirements={"sha256": manifest.sha256(requirements)},
        claimed=version["claimed"],
        golden=version["golden"],
        **entries,
        **manifest.unmitigated(_unmitigated(folder, recipe)),
    )


def _unmitigated(folder: Path, recipe: settings.Train) -> bytes | None:
    """Return the model without mitigation, which is compared but never deployed.

    Raises:
        Refused: the proposal mitigates, and did not send it.
    """
    if recipe.mitigation is None:
        return None
    file = folder / manifest.UNMITIGATED
    if not file.is_file():
        reason = f"the lock lacks {file.name}, which train.mitigation writes"
        raise Refused("lock", f"{reason}: build it again")
    return file.read_bytes()


def chosen_threshold(version: Manifest) -> float:
    """Return the threshold that a build chose, once it is one that decides.

    Raises:
        Refused: it is not a number above 0 and below 1, or not said what it was
            chosen by.
    """
    threshold, claimed = version.get("threshold"), version.get("claimed")
    if not (isinstance(threshold, float) and 0 < threshold < 1):
        raise Refused(
            "manifest",
            "train.threshold is best, and the manifest's threshold is "
            f"{shown(threshold)}, not a number above 0 and below 1: run `make repro`",
        )
    facts = claimed.get("threshold") if isinstance(claimed, dict) else None
    if not (
        isinstance(facts, dict)
        and set(facts) == {"rows", "worth"}
        and type(facts["rows"]) is int
        and 0 < facts["rows"] < LARGEST
        and type(facts["worth"]) in (int, float)
        and abs(facts["worth"]) < LARGEST
    ):
        reason = "the manifest does not say how its threshold was chosen"
        raise Refused("manifest", f"{reason}: run `make repro`")
    return threshold


def _code(named: Mapping[str, str], read_file: ReadFile) -> dict[str, str]:
    """Return the hash of each source file that a manifest names, or should name.

    The proposal's tree does not hold the machinery where it is an installed wheel,
    which the requirements pin.
    """
    hashes = {}
    for path in sorted({*named, *manifest.CODE}):
        source = read_file(path)
        if source is not None:
            hashes[path] = manifest.sha256(source)
        elif path in named and path.startswith("mlgitops/"):
            hashes[path] = named[path]
    return hashes


def _differences(
    actual: object, expected: object, path: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Yield the path of each entry that differs, and both values."""
    if not (isinstance(actual, dict) and isinstance(expected, dict)):
        if actual != expected:
            yield path, actual, expected
        return
    for name in sorted(actual.keys() | expected.keys()):
        entry = f"{path}.{name}" if path else name
        yield from _differences(actual.get(name), expected.get(name), entry)


class _Dependency(msgspec.Struct):
    """What a stage of dvc.lock read."""

    path: str
    md5: str | None = None


class _Stage(msgspec.Struct):
    """A stage of dvc.lock."""

    deps: list[_Dependency] = []


def raw_data(lock_bytes: bytes, pointers: Mapping[str, Out]) -> Out:
    """Return the tracked file that the built lock says the stages read.

    Raises:
        Refused: the lock was built from other data than the proposal points to.
    """
    try:
        stages = msgspec.convert(
            _mapping(lock_bytes, "dvc.lock").get("stages") or {}, dict[str, _Stage]
        )
    except msgspec.ValidationError as error:
        raise Refused("lock", f"dvc.lock: {error}") from error
    deps = [dep for stage in stages.values() for dep in stage.deps]
    named = (dep for dep in deps if dep.path in pointers)
    used = {dep.path: dep.md5 for dep in named if is_table(dep.path)}
    if len(used) != 1:
        reason = f"the stages have to read one file of data/, not {len(used)}"
        if not used:
            reason += ": dvc.yaml reads none that DVC tracks, so type `dvc add` and "
            reason += "the path of your table in data/, and commit its .dvc file"
        raise Refused("data", reason)
    ((path, md5),) = used.items()
    if pointers[path].md5 != md5:
        raise Refused("data", f"the model was built from another {path} than proposed")
    return pointers[path]


def check_raw(file: Path, version: Manifest) -> None:
    """Refuse raw data that is not what the manifest says was read."""
    named, actual = version["data"]["sha256"], sha256_file(file)
    if named != actual:
        raise Refused(
            "manifest",
            f"the raw data that the manifest names are not the ones proposed: "
            f"{named[:12]} in place of {actual[:12]}",
        )


def check_types(version: Manifest) -> None:
    """Check the types that the judge relies on beyond those of the verifier."""
    data, files = version.get("data"), version["code"].get("files")
    if (
        not isinstance(data, dict)
        or set(data) not in (DATA, DATA | TIMES)
        or not all(isinstance(data[name], str) for name in {*data} - {"train_rows"})
        or type(data["train_rows"]) is not int
    ):
        raise Refused("manifest", "the manifest does not say what was trained on")
    if (
        not isinstance(files, dict)
        or len(files) > MOST_FILES
        or not all(SOURCE.fullmatch(name) for name in files)
        or not all(isinstance(sha256, str) for sha256 in files.values())
    ):
        raise Refused("manifest", "the manifest does not name the files of its code")
    claimed = version.get("claimed")
    parity = claimed.get("parity") if isinstance(claimed, dict) else None
    numbers = ("rows", "max_difference")
    if not isinstance(parity, dict) or not all(
        isinstance(parity.get(n), int | float) and 0 <= parity[n] < LARGEST
        for n in numbers
    ):
        raise Refused("parity", "the manifest holds no parity: run `make repro`")


def _mapping(data: bytes | None, name: str) -> dict[str, Any]:
    """Parse a stranger's YAML, whose aliases could stand for more than fits memory."""
    try:
        return mapping(data or b"", name)
    except ContractError as error:
        raise Refused("manifest", str(error)) from error
