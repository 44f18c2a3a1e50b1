"""Answer rows on this machine: no server, no network, onnxruntime and numpy only.

    python run.py < rows.json

`rows.json` is what the server's /predict takes, {"rows": [{...}, ...]}; the answer is
what the server would say, bit for bit. Every file is verified first.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class BundleError(Exception):
    """A file of the bundle is not the one that was built: one sentence."""


def check(folder: Path = HERE) -> None:
    """Recompute the checksums of the bundle; BundleError names the first bad file."""
    try:
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        for line in lines:
            digest, _, name = line.partition("  ")
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise BundleError(f"{name} is not the file that was built")
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from None


def load(folder: Path = HERE) -> Any:
    """Return the verified model of a bundle, its golden rows answered."""
    check(folder)
    sys.path.insert(0, str(folder))
    from mlgitops.serving.model import Model

    contract = json.loads((folder / "model/contract.json").read_bytes())
    model = Model(folder / "model", contract=contract)
    model.check_golden()
    return model


def answer(model: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the server would answer to these rows."""
    predictions = model.answers(rows, [row.get("id") for row in rows])
    return {"manifest_sha256": model.manifest_sha256, "predictions": predictions}


def main() -> None:
    """Read rows from standard input, print answers; exit 1 with a sentence."""
    try:
        model = load()
    except Exception as error:
        raise SystemExit(f"refused: {error}") from None
    try:
        rows = json.load(sys.stdin)["rows"]
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SystemExit('the input is not {"rows": [{...}, ...]}.') from None
    from mlgitops.serving.model import ModelError
    from mlgitops.serving.rows import RowError

    try:
        print(json.dumps(answer(model, rows)))
    except (RowError, ModelError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
