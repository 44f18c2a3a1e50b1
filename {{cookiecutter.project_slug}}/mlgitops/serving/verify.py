"""The one verifier: are these the bytes that were reviewed?

Standard library only, offline, runnable as one file. Everyone who hands a version
over calls it: the judge, deploy, the host agent, the server, the edge bundle.

    python -m mlgitops.serving.verify FOLDER [SHA256 of manifest.json]
"""

import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
CONTRACT = "contract.yaml"
PLAIN = "contract.json"  # the same where there is no YAML library
MAX_MANIFEST_BYTES = 4_000_000  # a manifest is text and some golden rows
OUTPUTS = {  # by task, an answer's name: in ONNX, golden rows, /predict, the log
    "binary": "probability",
    "multiclass": "probabilities",
    "regression": "value",
}
HASHES = ("model", "contract", "code", "requirements")  # sections with a sha256


class VerifyError(Exception):
    """The bytes are not the ones that were reviewed: one sentence, names the file."""


def sha256_file(path: Path | str) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise VerifyError(f"{path} cannot be read: {error.strerror}.") from None


def read_verified(path: Path, sha256: str) -> bytes:
    """Read a file once and return its bytes only if their sha256 is the given one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VerifyError(f"{path} cannot be read: {error.strerror}.") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise VerifyError(
            f"{path} is not the reviewed file: its sha256 is {found}, "
            f"expected {sha256}."
        )
    return data


def load_manifest(
    path: Path | str, expected_sha256: str | None = None
) -> dict[str, Any]:
    """Return a manifest after checking its hash (when given), its keys and types."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise VerifyError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise VerifyError(f"{path} has more than {MAX_MANIFEST_BYTES} bytes.")
    found = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and found != expected_sha256:
        raise VerifyError(
            f"{path} is not the expected version: its sha256 is {found}, "
            f"expected {expected_sha256}."
        )
    try:
        manifest = json.loads(data, parse_constant=_no_constant)
        _check(manifest)
    except (ValueError, RecursionError) as error:
        raise VerifyError(f"{path} is not a manifest: {error}.") from None
    return dict(manifest)


def contract_path(folder: Path) -> Path:
    """Return the contract beside the model, or in the work tree above `build/`."""
    inside = folder / CONTRACT
    return inside if inside.exists() else folder.resolve().parent / CONTRACT


def verify(folder: Path | str, expected_sha256: str | None = None) -> dict[str, Any]:
    """Recompute every hash of a version in a folder and return its manifest.

    `expected_sha256` is the sha256 of manifest.json: the version's identity.
    Raises VerifyError naming the file that is altered, truncated or missing.
    """
    folder = Path(folder)
    manifest = load_manifest(folder / MANIFEST, expected_sha256)
    model = folder / manifest["model"]["file"]
    if model.exists() and model.stat().st_size != manifest["model"]["bytes"]:
        raise VerifyError(
            f"{model} is not the reviewed file: it has {model.stat().st_size} bytes, "
            f"expected {manifest['model']['bytes']}."
        )
    contract, plain = contract_path(folder), folder / PLAIN
    named = [
        (model, manifest["model"]["sha256"]),
        (contract, manifest["contract"]["sha256"]),
    ]
    if plain.exists() and "json_sha256" in manifest["contract"]:
        named.append((plain, manifest["contract"]["json_sha256"]))
    for path, expected in named:
        found = sha256_file(path)
        if found != expected:
            raise VerifyError(
                f"{path} is not the reviewed file: its sha256 is {found}, "
                f"expected {expected}."
            )
    return manifest


def distance(golden: list[Any], answers: list[Any]) -> float:
    """Return how far answers are from the golden rows at most; NaN stays NaN.

    Probabilities differ as they are, values in parts of the largest golden one. Raises
    KeyError, TypeError or ValueError when an answer cannot be compared.
    """
    pairs: list[tuple[float, float]] = []
    scale = 1.0
    for item, answer in zip(golden, answers, strict=True):
        (name,) = item.keys() - {"row"}
        wanted, given = item[name], answer[name]
        if isinstance(wanted, dict):
            if wanted.keys() != given.keys():
                raise ValueError("the answer has other classes")
            pairs += [(float(given[key]), float(wanted[key])) for key in wanted]
        else:
            pairs.append((float(given), float(wanted)))
    if "value" in golden[0]:
        scale = max(abs(wanted) for _, wanted in pairs) or 1.0
    gaps = [abs(given - wanted) for given, wanted in pairs]
    return math.nan if any(map(math.isnan, gaps)) else max(gaps) / scale


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON allows")


def _need(good: bool, what: str) -> None:
    if not good:
        raise ValueError(what)


def _is_sha256(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) == 64
        and set(value) <= set("0123456789abcdef")
    )


def _is_share(value: Any) -> bool:
    """Tell whether a value is a number from 0 to 1."""
    return _is_number(value) and 0 <= value <= 1


def _is_number(value: Any) -> bool:
    """Tell whether a value is a finite number; true and false are not."""
    return type(value) in (int, float) and math.isfinite(value)


def _is_answer(value: Any, task: str, classes: Any) -> bool:
    """Tell whether a value is what a model of the task answers."""
    if task == "multiclass":
        known = isinstance(value, dict) and value.keys() == set(classes)
        return known and all(map(_is_share, value.values()))
    return _is_share(value) if task == "binary" else _is_number(value)


def _check(manifest: Any) -> None:
    """Raise ValueError with the first thing that is not as a manifest must be."""
    _need(isinstance(manifest, dict), "it is not a JSON object")
    _need(manifest.get("schema") == 1, "its schema is not 1")
    _need(isinstance(manifest.get("name"), str), "'name' is not text")
    for key in HASHES:
        section = manifest.get(key)
        _need(isinstance(section, dict), f"'{key}' is missing")
        _need(_is_sha256(section.get("sha256")), f"'{key}.sha256' is not a sha256")
    plain = manifest["contract"].get("json_sha256", "0" * 64)  # older ones have none
    _need(_is_sha256(plain), "'contract.json_sha256' is not a sha256")
    file, size = manifest["model"].get("file"), manifest["model"].get("bytes")
    bare = isinstance(file, str) and file not in ("", ".", "..")
    _need(bare and not set(file) & set("/\\\0"), "'model.file' is not a file name")
    _need(type(size) is int and size > 0, "'model.bytes' is not a size")
    task, classes = manifest.get("task", "binary"), manifest.get("classes")
    _need(isinstance(task, str) and task in OUTPUTS, "its task is not known")
    if task == "binary":
        _need(_is_share(manifest.get("threshold")), "'threshold' is not from 0 to 1")
    if task == "multiclass":
        _need(
            isinstance(classes, list)
            and all(isinstance(name, str) for name in classes)
            and 1 < len(classes) == len(set(classes)),
            "'classes' is not a list of names",
        )
    names = manifest.get("columns")
    _need(
        isinstance(names, list)
        and bool(names)
        and all(isinstance(name, str) for name in names),
        "'columns' is not a list of names",
    )
    golden = manifest.get("golden")
    _need(isinstance(golden, list) and bool(golden), "'golden' has no rows")
    for item in golden:
        _need(
            isinstance(item, dict)
            and set(item) == {"row", OUTPUTS[task]}
            and isinstance(item.get("row"), dict)
            and _is_answer(item[OUTPUTS[task]], task, classes),
            f"'golden' holds something that is not a row with its {OUTPUTS[task]}",
        )


def main(arguments: list[str] | None = None) -> None:
    """Verify a folder given on the command line; exit 1 with a sentence if refused."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not 1 <= len(arguments) <= 2:
        raise SystemExit("usage: python -m mlgitops.serving.verify FOLDER [SHA256]")
    try:
        manifest = verify(*arguments)
    except VerifyError as error:
        raise SystemExit(f"refused: {error}") from None
    print(f"ok {manifest['name']} {sha256_file(Path(arguments[0]) / MANIFEST)}")


if __name__ == "__main__":
    main()
