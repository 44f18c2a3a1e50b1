"""The one verifier: are these the bytes that were reviewed?

Standard library only, offline, runnable as one file. Everyone who hands a version
over calls it: the judge, deploy, the host agent, the server, the edge bundle.

    python -m mlgitops.serving.verify FOLDER [SHA256 of manifest.json]
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
CONTRACT = "contract.yaml"
PLAIN = "contract.json"  # the same where there is no YAML library
MAX_MANIFEST_BYTES = 4_000_000  # a manifest is text and some golden rows
OUTPUTS = {  # by task, a prediction's name: in ONNX, golden rows, /predict, the log
    "binary": "probability",
    "multiclass": "probabilities",
    "regression": "value",
}
METHODS = {  # by task, of what is said beside a prediction where a version says it
    "binary": "least ambiguous sets",
    "multiclass": "least ambiguous sets",
    "regression": "absolute residual",
}
CLASSES = ("binary", "multiclass")
CALIBRATED = ("method", "coverage", "rows", "quantile")
BESIDE = {"interval", "set"}  # what a golden row may have beside its prediction
HASHES = ("model", "contract", "code", "requirements")  # sections with a sha256
HEX_DIGITS = frozenset("0123456789abcdef")
Manifest = dict[str, Any]


class VerifyError(Exception):
    """The bytes are not the ones that were reviewed: one sentence, names the file."""


def sha256_file(path: Path | str) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def read_verified(path: Path, sha256: str) -> bytes:
    """Read a file once and return its bytes only if their sha256 is the given one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    _compare(path, hashlib.sha256(data).hexdigest(), sha256)
    return data


def load_manifest(path: Path | str, expected_sha256: str | None = None) -> Manifest:
    """Return a manifest after checking its hash (when given), its keys and types."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise VerifyError(f"{path} has more than {MAX_MANIFEST_BYTES} bytes.")
    if expected_sha256 is not None:
        actual = hashlib.sha256(data).hexdigest()
        _compare(path, actual, expected_sha256, "the expected version")
    try:
        manifest = json.loads(
            data, parse_constant=_no_constant, object_pairs_hook=_distinct
        )
        _check(manifest)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise VerifyError(f"{path} is not a manifest: {error}.") from None
    return dict(manifest)


def contract_path(folder: Path) -> Path:
    """Return the contract beside the model, or in the work tree above `build/`."""
    inside = folder / CONTRACT
    return inside if inside.exists() else folder.resolve().parent / CONTRACT


def verify(folder: Path | str, expected_sha256: str | None = None) -> Manifest:
    """Recompute every hash of a version in a folder and return its manifest.

    `expected_sha256` is the sha256 of manifest.json: the version's identity.
    Raises VerifyError naming the file that is altered, truncated or missing.
    """
    folder = Path(folder)
    manifest = load_manifest(folder / MANIFEST, expected_sha256)
    model, plain = folder / manifest["model"]["file"], folder / PLAIN
    if model.exists() and model.stat().st_size != manifest["model"]["bytes"]:
        raise VerifyError(
            f"{model} is not the reviewed file: it has {model.stat().st_size} bytes, "
            f"expected {manifest['model']['bytes']}."
        )
    _compare(model, sha256_file(model), manifest["model"]["sha256"])
    contract, hashes = contract_path(folder), manifest["contract"]
    role = "the reviewed file"
    if contract.parent != folder:  # a work tree, where it may be edited
        role += " of this model (if it was edited, type make repro)"
    _compare(contract, sha256_file(contract), hashes["sha256"], role)
    if plain.exists():
        _compare(plain, sha256_file(plain), hashes["json_sha256"])
    return manifest


def distance(
    golden: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]]
) -> float:
    """Return the largest distance of predictions from golden rows; NaN stays NaN.

    Probabilities are compared as they are, values and intervals in parts of the largest
    golden value; of another set the distance is infinite.
    Raises KeyError, TypeError or ValueError when a prediction cannot be compared.
    """
    pairs: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    for entry, prediction in zip(golden, predictions, strict=True):
        (name,) = entry.keys() - {"row", *BESIDE}
        if "interval" in entry:
            beside += zip(prediction["interval"], entry["interval"], strict=True)
        if "set" in entry and prediction["set"] != entry["set"]:
            beside.append((math.inf, 0.0))
        expected, actual = entry[name], prediction[name]
        if isinstance(expected, dict):
            if expected.keys() != actual.keys():
                raise ValueError("the prediction has other classes")
            pairs += [(float(actual[key]), float(expected[key])) for key in expected]
        else:
            pairs.append((float(actual), float(expected)))
    scale = 1.0
    if "value" in golden[0]:
        scale = max(abs(expected) for _, expected in pairs) or 1.0
    gaps = [abs(float(actual) - expected) for actual, expected in pairs + beside]
    return math.nan if any(map(math.isnan, gaps)) else max(gaps) / scale


def _unreadable(path: Path | str, error: OSError) -> VerifyError:
    return VerifyError(f"{path} cannot be read: {error.strerror}.")


def _compare(
    path: Path | str, actual: str, expected: str, role: str = "the reviewed file"
) -> None:
    """Raise VerifyError unless a file has the expected sha256."""
    if actual != expected:
        raise VerifyError(
            f"{path} is not {role}: its sha256 is {actual}, expected {expected}."
        )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON allows")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's entries; of a key given twice, readers take either."""
    entries: dict[str, Any] = {}
    for name, value in pairs:
        _require(name not in entries, f"the key {name[:60]!r} is given twice")
        entries[name] = value
    return entries


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= HEX_DIGITS


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number; true and false are not."""
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_probability(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _are_names(value: object) -> bool:
    """Return whether a value is a list of texts that is not empty."""
    names = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return names and bool(value)


def _is_prediction(value: object, task: str, classes: Sequence[str]) -> bool:
    """Return whether a value is what a model of the task predicts."""
    if task == "multiclass":
        if not isinstance(value, dict) or value.keys() != set(classes):
            return False
        return all(map(_is_probability, value.values()))
    return _is_probability(value) if task == "binary" else _is_number(value)


def _is_calibrated(entry: object, task: str, labels: Sequence[object]) -> bool:
    """Return whether an entry says what is beside a prediction of the task."""
    flags = ("by_class", "abstain")
    if not isinstance(entry, dict) or entry.keys() != {*CALIBRATED, *flags}:
        return False
    quantile, rows = entry["quantile"], entry["rows"]
    if task in CLASSES:
        known = isinstance(quantile, list) and len(quantile) == len(labels)
        known = known and all(map(_is_probability, quantile))
    else:
        known = _is_number(quantile) and quantile >= 0
        known = known and not any(entry[flag] for flag in flags)
    return (
        known
        and entry["method"] == METHODS[task]
        and _is_probability(entry["coverage"])
        and type(rows) is int
        and 0 < rows < 2**53
        and all(type(entry[flag]) is bool for flag in flags)
    )


def _is_beside(entry: Manifest, task: str, labels: Sequence[object]) -> bool:
    """Return whether what a golden row has beside its prediction is of the task."""
    if task not in CLASSES:
        ends = entry.get("interval")
        return "set" not in entry and (
            isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))
        )
    members = entry.get("set", [])
    known = isinstance(members, list) and all(name in labels for name in members)
    return "interval" not in entry and known


def _check(manifest: Any) -> None:
    """Raise ValueError for the first field that is not as a manifest must have it."""
    _require(isinstance(manifest, dict), "it is not a JSON object")
    _require(manifest.get("schema") == 1, "its schema is not 1")
    _require(isinstance(manifest.get("name"), str), "'name' is not text")
    for key in HASHES:
        section = manifest.get(key)
        _require(isinstance(section, dict), f"'{key}' is missing")
        _require(_is_sha256(section.get("sha256")), f"'{key}.sha256' is not a sha256")
    plain = manifest["contract"].get("json_sha256")
    _require(_is_sha256(plain), "'contract.json_sha256' is not a sha256")
    file, size = manifest["model"].get("file"), manifest["model"].get("bytes")
    bare = isinstance(file, str) and file not in ("", ".", "..")
    _require(bare and not set(file) & set("/\\\0"), "'model.file' is not a file name")
    _require(type(size) is int and size > 0, "'model.bytes' is not a size")
    task, classes = manifest.get("task"), manifest.get("classes")
    _require(isinstance(task, str) and task in OUTPUTS, "its task is not known")
    if task == "binary":
        threshold = _is_probability(manifest.get("threshold"))
        _require(threshold, "'threshold' is not from 0 to 1")
    if task == "multiclass":
        distinct = _are_names(classes) and 1 < len(classes) == len(set(classes))
        _require(distinct, "'classes' is not a list of names")
    _require(_are_names(manifest.get("columns")), "'columns' is not a list of names")
    labels = classes if task == "multiclass" else [0, 1]
    beside: set[str] = set()
    if "intervals" in manifest:
        known = _is_calibrated(manifest["intervals"], task, labels)
        _require(known, "'intervals' is not what a version of its task says")
        beside = BESIDE
    golden = manifest.get("golden")
    _require(isinstance(golden, list) and bool(golden), "'golden' has no rows")
    for entry in golden:
        _require(
            isinstance(entry, dict)
            and set(entry) - beside == {"row", OUTPUTS[task]}
            and isinstance(entry.get("row"), dict)
            and _is_prediction(entry[OUTPUTS[task]], task, classes)
            and (not beside or _is_beside(entry, task, labels)),
            f"'golden' holds something that is not a row with its {OUTPUTS[task]}",
        )


def main() -> None:
    """Verify a folder given on the command line; exit 1 with a sentence if refused."""
    arguments = sys.argv[1:]
    if not 1 <= len(arguments) <= 2:
        raise SystemExit("usage: python -m mlgitops.serving.verify FOLDER [SHA256]")
    try:
        manifest = verify(*arguments)
    except VerifyError as error:
        raise SystemExit(f"refused: {error}") from None
    print(f"ok {manifest['name']} {sha256_file(Path(arguments[0]) / MANIFEST)}")


if __name__ == "__main__":
    main()
