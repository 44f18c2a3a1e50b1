"""Builds the edge bundle: one version for a machine without network and server.

    python -m mlgitops edge build flights-edge.zip

Run it in the root of the repository. The bundle contains the model, its manifest and
contract, the verifier, the runner, the launcher that updates a device, two pinned
requirements and a list of checksums.
The same version gives the same bytes.
"""

import hashlib
import re
import sys
import zipfile
from pathlib import Path

from mlgitops.pipeline.contract import ContractError, mapping, plain
from mlgitops.serving.verify import MANIFEST, VerifyError, contract_path, verify

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent  # of the machinery
NAMES = "__init__ verify reasons rows words predictions rowwise model"
SERVING = tuple(NAMES.split())
CODE = ("__init__.py", "prediction_log.py", *(f"serving/{n}.py" for n in SERVING))
NEEDS = ("numpy", "onnxruntime")
STAMP = (1980, 1, 1, 0, 0, 0)  # no time in the bundle


def requirements(lock: str) -> str:
    """Return the pins, with hashes, of what the runner imports, from a lock."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock)
    names = {name: [b for b in blocks if b.startswith(f"{name}==")] for name in NEEDS}
    for name, pins in names.items():
        if not pins or any("--hash=sha256:" not in block for block in pins):
            raise VerifyError(
                f"mlgitops/requirements/serving.txt does not pin {name} with hashes; "
                "run: make lock"
            )
    blocks = [block for pins in names.values() for block in pins]
    return "".join(re.sub(r"\n *#.*", "", block.rstrip()) + "\n" for block in blocks)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bundle's files by name; VerifyError if the version is not intact."""
    manifest = verify(folder)
    contract = contract_path(folder).read_bytes()
    lock = (ROOT / "requirements/serving.txt").read_text()
    files = {
        "run.py": (FOLDER / "run.py").read_bytes(),
        "update.py": (FOLDER / "update.py").read_bytes(),
        "README.md": (FOLDER / "README.md").read_bytes(),
        "requirements.txt": requirements(lock).encode(),
        f"model/{MANIFEST}": (folder / MANIFEST).read_bytes(),
        "model/contract.yaml": contract,
        "model/contract.json": plain(mapping(contract, "contract.yaml")),
        "model/model.onnx": (folder / manifest["model"]["file"]).read_bytes(),
    }
    json_sha256 = hashlib.sha256(files["model/contract.json"]).hexdigest()
    if json_sha256 != manifest["contract"]["json_sha256"]:
        raise VerifyError("the contract as JSON has another sha256 than the manifest's")
    for name in CODE:
        files[f"mlgitops/{name}"] = (ROOT / name).read_bytes()
    sums = [f"{hashlib.sha256(files[n]).hexdigest()}  {n}\n" for n in sorted(files)]
    return files | {"SHA256SUMS": "".join(sums).encode()}


def build(folder: Path, target: Path) -> str:
    """Write the bundle as a zip and return its sha256."""
    files = contents(folder)
    part = target.with_name(target.name + ".part")
    with zipfile.ZipFile(part, "w") as bundle:
        for name in sorted(files):
            item = zipfile.ZipInfo(name, STAMP)
            item.external_attr = 0o644 << 16
            bundle.writestr(item, files[name], zipfile.ZIP_DEFLATED)
    part.replace(target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def main() -> None:
    """Build the bundle of a folder; exit 1 with a sentence when it is refused."""
    arguments = sys.argv[1:]
    if len(arguments) != 2:
        raise SystemExit("usage: python -m mlgitops edge FOLDER BUNDLE.zip")
    target = Path(arguments[1])
    try:
        digest = build(Path(arguments[0]), target)
    except (VerifyError, ContractError, OSError) as error:
        raise SystemExit(f"refused: {error}") from None
    print(f"{digest}  {target} ({target.stat().st_size / 1e6:.2f} MB)")
