"""Predicts rows on this machine: no server, no network, onnxruntime and numpy only.

    python run.py < rows.json

`rows.json` is a body of the server's /predict, {"rows": [{...}, ...]}; the output is
the server's response, bit for bit, without the version's name. Every file is verified
first.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlgitops.serving.model import Model

FOLDER = Path(__file__).resolve().parent
if not __package__:  # in a bundle, which has the files that it lists and no others
    sys.dont_write_bytecode = True


class BundleError(Exception):
    """A file of the bundle is missing or altered: one sentence."""


def check(folder: Path = FOLDER) -> None:
    """Recompute the checksums of the bundle; BundleError names the first bad file."""
    try:
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        for line in lines:
            digest, _, name = line.partition("  ")
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise BundleError(f"{name} is not the file that was built")
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from None


def load(folder: Path = FOLDER) -> Model:
    """Return the verified model of a bundle, after checking its golden rows."""
    check(folder)
    sys.path.insert(0, str(folder))
    from mlgitops.serving.model import Model

    contract = json.loads((folder / "model/contract.json").read_bytes())
    model = Model(folder / "model", contract=contract)
    model.check_golden()
    return model


def response(model: Model, rows: list[dict[str, object]]) -> dict[str, object]:
    """Return the server's response for these rows."""
    from mlgitops.serving.rows import metadata

    names = (model.id, model.time)
    ids = [metadata(n, row, *names)[0] for n, row in enumerate(rows)]
    predictions = model.predictions(rows, ids)
    return {"manifest_sha256": model.manifest_sha256, "predictions": predictions}


def main() -> None:
    """Read rows from standard input, print predictions; an error is one sentence."""
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
        print(json.dumps(response(model, rows)))
    except (RowError, ModelError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
