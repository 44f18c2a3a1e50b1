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
from typing import NamedTuple

import pytest

from machinery import described, tiny

pytest.importorskip("schemathesis")
PROOF = bool(os.environ.get("PROOF"))
CASES = 5_000 if PROOF else 20  # of POST /predict, of each contract, beside some 180
CONFIG = """\
[checks]
negative_data_rejection.expected-statuses = ["400", "413", "422"]
positive_data_acceptance.expected-statuses = ["200"]
"""
PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"
CONTRACTS = {
    "flights": Path("contract.yaml").read_text(encoding="utf-8"),
    "awkward": described.AWKWARD,
}


class Target(NamedTuple):
    """A server, and room for files."""

    port: int
    folder: Path
    whole: bool  # whether all its paths are tried

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
    (folder / "schemathesis.toml").write_text(CONFIG)
    # Few rows, as many cases cost less than large ones; the description says so.
    options = ("--max-rows", "3", "--log", str(folder / "log"))
    options += ("--explain-rate", "1000000", "--explain-evaluations", "50")
    with tiny.server(folder / "model", *options) as (port, _):
        yield Target(port, folder, request.param == "awkward")


def count(printed: str) -> int:
    """Return how many requests were made."""
    found = re.search(r"(\d+) generated", printed.replace(",", ""))
    assert found, printed[-3000:]
    return int(found[1])


PHASES = ("--phases", "examples,coverage,fuzzing", "--max-examples")


def test_the_server_is_as_described(target: Target) -> None:
    """What the schema allows is predicted, what it does not is refused, nothing fails.

    No undocumented status, no 5xx; each response fits its schema.
    """
    # Tensors have to be of one length, which no schema says: test_open_inference.py.
    tensors = ("--exclude-path-regex", "/v2/.*infer$")
    only = tensors if target.whole else ("--include-path", "/predict")
    code, printed = target.run(None, *PHASES, str(CASES), *only)
    assert code == 0, printed[-6000:]
    assert count(printed) >= CASES + 100
    assert tiny.call(target.port, "/health/ready")[0] == 200


WRONG = (
    "Undocumented status code",
    "Schema-valid request rejected",
    "Response violates schema",
)


def test_a_wrong_description_is_found(target: Target, tmp_path: Path) -> None:
    """That a column may be absent, that no row is refused, that a decision is text."""
    if not target.whole:
        pytest.skip("one contract is enough")
    document = tiny.call(target.port, "/openapi.json")[1]
    schemas = document["components"]["schemas"]
    schemas["Row"]["required"].remove("kind")
    schemas["Prediction"]["properties"]["decision"] = {"type": "string"}
    del document["paths"]["/predict"]["post"]["responses"]["422"]
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(document))
    only = ("--phases", "coverage", "--include-path", "/predict")
    code, printed = target.run(file, *only)
    assert code == 1, printed[-3000:]
    assert not [words for words in WRONG if words not in printed], printed[-3000:]
