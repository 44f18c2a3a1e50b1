"""schemathesis makes requests of the description and holds the responses to it.

It is no package of a generated repository: `requirements/schemathesis.txt` of the
template has it, and CI runs this file with it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from machinery import described, tiny

pytest.importorskip("schemathesis")
PROOF = bool(os.environ.get("PROOF"))
CASES = 5_000 if PROOF else 60  # of POST /predict, and of each contract
OTHERS = 100 if PROOF else 5  # of each other path
PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"
CONTRACTS = {
    "flights": Path("contract.yaml").read_text(encoding="utf-8"),
    "awkward": described.AWKWARD,
}


class Target(NamedTuple):
    """A server, and room for files."""

    port: int
    folder: Path

    def run(self, document: Path | None, *options: str) -> tuple[int, str]:
        """Run schemathesis, without its stateful phase; return its exit and output."""
        url = f"http://127.0.0.1:{self.port}"
        source = (str(document), "--url", url) if document else (f"{url}/openapi.json",)
        done = subprocess.run(
            (
                *(sys.executable, "-c", PROGRAM, "run", *source, "--checks", "all"),
                *("--seed", "1", "--continue-on-failure", "--no-color", *options),
                *("--suppress-health-check", "all"),
            ),
            cwd=self.folder,
            env=os.environ | {"NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module", params=CONTRACTS)
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("target")
    described.version(folder / "model", CONTRACTS[request.param])
    # Few rows, as many cases cost less than large ones; the description says so.
    options = ("--max-rows", "3", "--log", str(folder / "log"))
    with tiny.server(folder / "model", *options) as (port, _):
        yield Target(port, folder)


def count(printed: str) -> int:
    """Return how many requests were made."""
    found = re.search(r"(\d+) generated", printed.replace(",", ""))
    assert found, printed[-3000:]
    return int(found[1])


PHASES = ("--phases", "examples,coverage,fuzzing", "--max-examples")


def test_predict_is_as_described(target: Target) -> None:
    """What the schema allows is predicted, what it does not is refused, nothing fails.

    No undocumented status, no 5xx; each response fits its schema.
    """
    only = ("--include-path", "/predict")
    code, printed = target.run(None, *PHASES, str(CASES), *only)
    assert code == 0, printed[-6000:]
    assert count(printed) >= CASES + 100
    assert tiny.call(target.port, "/health/ready")[0] == 200


def test_other_paths_are_as_described(target: Target) -> None:
    others = ("--exclude-path", "/predict")
    code, printed = target.run(None, *PHASES, str(OTHERS), *others)
    assert code == 0, printed[-6000:]


def _column(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Row"]["required"].pop()


def _status(document: dict[str, Any]) -> None:
    del document["paths"]["/predict"]["post"]["responses"]["422"]


def _field(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["Prediction"]["properties"]["decision"]


WRONG = {
    "a column that is needed": (_column, "Schema-valid request rejected"),
    "a status that is not there": (_status, "Undocumented HTTP status code"),
    "a field that is not there": (_field, "Response violates schema"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_description_is_found(
    wrong: str, target: Target, tmp_path: Path
) -> None:
    if target.folder != target.folder or "awkward" in target.folder.name:
        pytest.skip("one contract is enough")
    change, words = WRONG[wrong]
    with_model = target.folder / "model"
    command = (sys.executable, "-m", "mlgitops", "openapi", str(with_model))
    document = json.loads(subprocess.check_output(command))
    change(document)
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(document))
    only = ("--phases", "coverage", "--include-path", "/predict")
    code, printed = target.run(file, *only)
    assert code == 1 and words in printed, printed[-3000:]
