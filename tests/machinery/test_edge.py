"""The edge bundle: two packages, no network, the server's answers bit for bit."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny

ROWS = [
    {"id": "a", "carrier": "UA", "distance": 1400, "temp": 40.5},
    {"id": "b", "carrier": "??", "distance": 77.7},
    {"id": "c", "carrier": "AA", "distance": 0, "temp": None, "seat": "a"},
]
# Blocks every import that the bundle may not need, and the network.
GUARD = """\
import sys
for name in ("yaml", "msgspec", "uvicorn", "pandas", "sklearn", "onnx", "httptools"):
    sys.modules[name] = None
import socket
def no(*_): raise OSError("no network")
socket.socket.connect = no
"""


def build(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlgitops", "edge", str(folder), str(target)],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build one bundle; beside it lies the version, in `m`."""
    folder = tmp_path_factory.mktemp("packed")
    tiny.version(folder / "m")
    done = build(folder / "m", folder / "b.zip")
    assert done.returncode == 0, done.stderr
    return folder / "b.zip"


@pytest.fixture
def bundle(packed: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(packed) as file:
        file.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


ONCE = "import runpy; runpy.run_path('run.py', run_name='__main__')"


def run(
    bundle: Path, given: Any, program: str = ONCE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", GUARD + program],
        cwd=bundle,
        input=given if isinstance(given, str) else json.dumps(given),
        capture_output=True,
        text=True,
    )


def test_its_answers_are_the_servers(
    bundle: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the bundle stays the files that it lists: no bytecode comes beside them."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    files = set(bundle.rglob("*"))
    done = run(bundle, {"rows": ROWS})
    assert done.returncode == 0, done.stderr
    assert set(bundle.rglob("*")) == files
    with tiny.server(packed.parent / "m") as (port, _):
        served = tiny.call(port, "/predict", {"rows": ROWS})[1]
    assert json.loads(done.stdout) == served


# Runs the program of a bundle for each input, in one process.
EACH = """
import contextlib, io, json, runpy
said = []
for given in json.load(sys.stdin):
    sys.stdin, out, err = io.StringIO(given), io.StringIO(), ""
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path("run.py", run_name="__main__")
        except SystemExit as error:
            err = str(error)
    said.append((err, out.getvalue()))
print(json.dumps(said))
"""


def test_it_refuses_what_the_server_refuses(bundle: Path) -> None:
    refused: list[tuple[Any, str]] = [
        ({"rows": [ROWS[0] | {"distance": "far"}]}, "must be a number, not text"),
        ({"rows": [ROWS[0] | {"x": 1}]}, "unknown column 'x'"),
        ({"rows": [{"carrier": "AA"}]}, "lacks the column 'distance'"),
        ('{"rows": [{"carrier": "AA", "distance": NaN}]}', "not a finite"),
        ([], "the input is not"),
        ("{", "the input is not"),
    ]
    texts = [g if isinstance(g, str) else json.dumps(g) for g, _ in refused]
    done = run(bundle, texts, EACH)
    assert done.returncode == 0, done.stderr
    for (_, words), (err, out) in zip(refused, json.loads(done.stdout), strict=True):
        assert words in err and "\n" not in err and out == ""
    done = run(bundle, "{")  # and as a program of its own
    assert done.returncode == 1 and "the input is not" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    "name",
    ["model/model.onnx", "model/contract.json", "mlgitops/serving/rows.py", "run.py"],
)
def test_an_altered_file_is_refused_by_name(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"\n")
    done = run(bundle, {"rows": ROWS})
    assert done.returncode == 1 and f"{name} is not the file" in done.stderr


def test_a_contract_with_new_checksums_is_refused_by_the_manifest(bundle: Path) -> None:
    """Whoever alters a file can list it anew; the version's identity stays."""
    file, sums = bundle / "model/contract.json", bundle / "SHA256SUMS"
    before = tiny.sha256(file.read_bytes())
    file.write_text(file.read_text().replace("6000", "60000"))
    sums.write_text(sums.read_text().replace(before, tiny.sha256(file.read_bytes())))
    assert before != tiny.sha256(file.read_bytes())
    done = run(bundle, {"rows": ROWS})
    assert done.returncode == 1
    assert "contract.json is not the reviewed file" in done.stderr


def test_a_manifest_that_names_another_contract_gives_no_bundle(tmp_path: Path) -> None:
    named = {"sha256": tiny.sha256(tiny.CONTRACT.encode()), "json_sha256": "0" * 64}
    tiny.version(tmp_path / "m", contract=named)
    done = build(tmp_path / "m", tmp_path / "b.zip")
    assert done.returncode == 1 and "the contract as JSON" in done.stderr


def test_the_same_version_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    assert build(packed.parent / "m", tmp_path / "again.zip").returncode == 0
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_a_version_that_is_not_whole_gives_no_bundle(tmp_path: Path) -> None:
    tiny.version(tmp_path / "m")
    (tmp_path / "m/model.onnx").write_bytes(b"other")
    done = build(tmp_path / "m", tmp_path / "b.zip")
    assert done.returncode == 1 and "model.onnx is not the reviewed" in done.stderr
    assert not (tmp_path / "b.zip").exists()


def test_it_pins_two_packages_with_hashes(bundle: Path) -> None:
    lines = (bundle / "requirements.txt").read_text().splitlines()
    pins = [line.split("==")[0] for line in lines if not line.startswith(" ")]
    assert set(pins) == {"numpy", "onnxruntime"}
    assert sum("--hash=sha256:" in line for line in lines) >= 2


@pytest.mark.slow
def test_in_a_clean_environment_its_answers_are_the_servers(
    packed: Path, bundle: Path, tmp_path: Path
) -> None:
    """As README.md says: two packages by their hashes, no network, other rows."""
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True)
    python = str(env / "bin/python")
    # Compiled is what is imported, and no more.
    pip = (python, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps")
    pins = ("--require-hashes", "-r", str(bundle / "requirements.txt"))
    done = subprocess.run((*pip, *pins), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        (python, "-m", "pip", "list", "--format=json"), capture_output=True, text=True
    )
    names = {item["name"] for item in json.loads(listed.stdout)}
    assert names - {"pip", "setuptools"} == {"numpy", "onnxruntime"}
    rows = [{**row, "distance": 13.7 * n} for n in range(40) for row in ROWS]
    code = "import socket; socket.socket.connect = None; import runpy; "
    code += "runpy.run_path('run.py', run_name='__main__')"
    done = subprocess.run(
        (python, "-c", code),
        cwd=bundle,
        input=json.dumps({"rows": rows}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with tiny.server(packed.parent / "m") as (port, _):
        assert json.loads(done.stdout) == tiny.call(port, "/predict", {"rows": rows})[1]


def test_size_and_cold_start_are_stated_by_a_command(packed: Path) -> None:
    command = [sys.executable, "-m", "mlgitops", "edge-measure"]
    done = subprocess.run(
        [*command, str(packed.parent / "m"), "2"],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "median" in done.stdout
