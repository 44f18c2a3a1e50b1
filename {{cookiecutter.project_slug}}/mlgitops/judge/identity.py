"""Is what was uploaded the version that this proposal describes, byte for byte?

Until this says yes, nothing is recorded under the version's name: a stranger could
else upload somebody else's manifest and have it condemned.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mlgitops.judge import artifact
from mlgitops.judgement import Refused
from mlgitops.lock import Lock, Out
from mlgitops.pipeline.contract import ContractError, mapping
from mlgitops.pipeline.contract import plain as as_json
from mlgitops.serving.verify import VerifyError, sha256_file, verify

Read = Callable[[str], bytes | None]
Manifest = dict[str, Any]
MOST = 1e15  # of rows, and of a difference


def identify(folder: Path, built: Lock, read: Read) -> Manifest:
    """Return the manifest once every hash in it is the proposal's own.

    ``read`` gives the bytes of a file of the proposal, merged into its base.

    Raises:
        Refused: with the first thing that differs.
    """
    artifact.check_objects(folder, built)
    try:
        manifest = verify(folder)
    except VerifyError as error:
        why = str(error).replace(f"{folder}/", "")
        raise Refused("manifest", why) from error
    _shape(manifest)
    if manifest["model"]["file"] != "model.onnx":
        raise Refused("manifest", "the manifest names another file than model.onnx")
    _same(
        manifest["data"]["train_sha256"], sha256_file(folder / "train.parquet"), "rows"
    )
    _same(manifest["contract"]["sha256"], _digest(read("contract.yaml")), "contract")
    plain = _digest(as_json(_entries(read("contract.yaml"), "contract.yaml")))
    _same(manifest["contract"].get("json_sha256", plain), plain, "contract")
    requirements = _digest(read("requirements/pipeline.txt"))
    _same(manifest["requirements"]["sha256"], requirements, "requirements")
    params = _entries(read("params.yaml"), "params.yaml").get("train")
    if json.dumps(params, sort_keys=True) != json.dumps(
        manifest["params"], sort_keys=True
    ):
        raise Refused("manifest", "the model was not trained with the params proposed")
    return manifest


def raw_data(lock_bytes: bytes, pointers: dict[str, Out]) -> Out:
    """Return the tracked file that the built lock says the stages read.

    Raises:
        Refused: the lock was built from other data than the proposal points to.
    """
    stages = (_yaml(lock_bytes).get("stages") or {}).values()
    deps = [dep for stage in stages for dep in stage.get("deps") or []]
    read = {dep["path"]: dep.get("md5") for dep in deps if dep["path"] in pointers}
    if len(read) != 1:
        why = f"the stages have to read one file of data/, not {len(read)}"
        raise Refused("data", why)
    ((path, md5),) = read.items()
    if pointers[path].md5 != md5:
        raise Refused("data", f"the model was built from another {path} than proposed")
    return pointers[path]


def check_raw(file: Path, manifest: Manifest) -> None:
    """Refuse raw data that is not what the manifest says was read."""
    _same(manifest["data"]["sha256"], sha256_file(file), "raw data")


def _shape(manifest: Manifest) -> None:
    """Check the types that the judge relies on beyond those of the verifier."""
    data, parity = manifest.get("data"), manifest.get("parity")
    words = ("sha256", "train_sha256", "train_from", "train_until")
    good = isinstance(data, dict) and all(isinstance(data.get(w), str) for w in words)
    if not good:
        raise Refused("manifest", "the manifest does not say what was trained on")
    numbers = ("rows", "max_difference")
    if not isinstance(parity, dict) or not all(
        isinstance(parity.get(n), int | float) and 0 <= parity[n] < MOST
        for n in numbers
    ):
        raise Refused("parity", "the manifest holds no parity: run `make repro`")


def _same(found: str | None, expected: str | None, what: str) -> None:
    """Refuse a hash that is not the expected one."""
    if found != expected:
        raise Refused(
            "manifest",
            f"the {what} that the manifest names are not the ones proposed: "
            f"{str(found)[:12]} in place of {str(expected)[:12]}",
        )


def _digest(data: bytes | None) -> str | None:
    """Return the sha256 of bytes, or None when the file is not there."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def _entries(data: bytes | None, name: str) -> dict[str, Any]:
    """Parse YAML of a stranger, whose aliases could stand for more than fits memory."""
    try:
        return mapping(data or b"", name)
    except ContractError as error:
        raise Refused("manifest", str(error)) from error


def _yaml(data: bytes | None) -> dict[str, Any]:
    """Parse YAML of a stranger; what is no mapping counts as empty."""
    try:
        found = yaml.safe_load(data or b"")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused("manifest", "dvc.lock is not YAML") from error
    return found if isinstance(found, dict) else {}
