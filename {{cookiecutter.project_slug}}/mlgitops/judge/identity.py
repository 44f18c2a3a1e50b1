"""Is what was uploaded the version that this proposal describes, byte for byte?

Until this says yes, nothing is recorded under the version's name: else a stranger could
upload somebody else's manifest and have it condemned.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlgitops.judge import artifact
from mlgitops.judgement import Refused
from mlgitops.lock import Lock, Out
from mlgitops.pipeline.contract import ContractError, mapping
from mlgitops.pipeline.contract import plain as as_json
from mlgitops.serving.verify import VerifyError, sha256_file, verify

ReadFile = Callable[[str], bytes | None]
Manifest = dict[str, Any]
LARGEST = 1e15  # number of rows, or difference


def identify(folder: Path, built: Lock, read_file: ReadFile) -> Manifest:
    """Return the manifest once every hash in it is the proposal's own.

    ``read_file`` gives the bytes of a file of the proposal, merged into its base.

    Raises:
        Refused: with the first thing that differs.
    """
    artifact.check_objects(folder, built)
    try:
        manifest = verify(folder)
    except VerifyError as error:
        reason = str(error).replace(f"{folder}/", "")
        raise Refused("manifest", reason) from error
    check_types(manifest)
    _json(manifest, "manifest.json")
    if manifest["model"]["file"] != "model.onnx":
        raise Refused("manifest", "the model's file in the manifest is not model.onnx")
    contract = _mapping(read_file("contract.yaml"), "contract.yaml")
    _json(contract, "contract.yaml")
    contract_json = hashlib.sha256(as_json(contract)).hexdigest()
    requirements = _sha256(read_file("requirements/pipeline.txt"))
    own, train = manifest["contract"], sha256_file(folder / "train.parquet")
    for subject, sha256, expected in (
        ("rows", manifest["data"]["train_sha256"], train),
        ("contract", own["sha256"], _sha256(read_file("contract.yaml"))),
        ("contract", own["json_sha256"], contract_json),
        ("requirements", manifest["requirements"]["sha256"], requirements),
    ):
        _check_sha256(subject, sha256, expected)
    params = _mapping(read_file("params.yaml"), "params.yaml").get("train")
    if _json(params, "params.yaml") != _json(manifest.get("params"), "manifest.json"):
        raise Refused("manifest", "the model was not trained with the params proposed")
    return manifest


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
    used = {dep.path: dep.md5 for dep in deps if dep.path in pointers}
    if len(used) != 1:
        reason = f"the stages have to read one file of data/, not {len(used)}"
        raise Refused("data", reason)
    ((path, md5),) = used.items()
    if pointers[path].md5 != md5:
        raise Refused("data", f"the model was built from another {path} than proposed")
    return pointers[path]


def check_raw(file: Path, manifest: Manifest) -> None:
    """Refuse raw data that is not what the manifest says was read."""
    _check_sha256("raw data", manifest["data"]["sha256"], sha256_file(file))


def check_types(manifest: Manifest) -> None:
    """Check the types that the judge relies on beyond those of the verifier."""
    data, parity = manifest.get("data"), manifest.get("parity")
    texts = ("sha256", "train_sha256", "train_from", "train_until")
    if not isinstance(data, dict) or not all(
        isinstance(data.get(t), str) for t in texts
    ):
        raise Refused("manifest", "the manifest does not say what was trained on")
    numbers = ("rows", "max_difference")
    if not isinstance(parity, dict) or not all(
        isinstance(parity.get(n), int | float) and 0 <= parity[n] < LARGEST
        for n in numbers
    ):
        raise Refused("parity", "the manifest holds no parity: run `make repro`")


def _check_sha256(subject: str, actual: str | None, expected: str | None) -> None:
    """Refuse a hash that is not the expected one."""
    if actual != expected:
        raise Refused(
            "manifest",
            f"the {subject} that the manifest names are not the ones proposed: "
            f"{str(actual)[:12]} in place of {str(expected)[:12]}",
        )


def _sha256(data: bytes | None) -> str | None:
    """Return the sha256 of bytes, or None when the file is not there."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def _json(value: object, name: str) -> str:
    """Return a value as JSON text, which UTF-8 must be able to hold."""
    try:
        text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"{name} holds a key or a value that JSON cannot hold: {error}"
        raise Refused("manifest", reason) from error
    return text


def _mapping(data: bytes | None, name: str) -> dict[str, Any]:
    """Parse a stranger's YAML, whose aliases could stand for more than fits memory."""
    try:
        return mapping(data or b"", name)
    except ContractError as error:
        raise Refused("manifest", str(error)) from error
