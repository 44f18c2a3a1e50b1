"""The verifier refuses whatever is not the reviewed version, and nothing else."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import tiny
from mlgitops.serving.verify import VerifyError, load_manifest, sha256_file, verify

FILES = ("manifest.json", "model.onnx", "contract.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.version(tmp_path / "m")
    return tmp_path / "m"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlgitops.serving.verify", *arguments],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
    )


def test_a_whole_version_is_accepted(folder: Path) -> None:
    identity = sha256_file(folder / "manifest.json")
    assert verify(folder)["name"] == "flights"
    assert verify(folder, identity) == load_manifest(folder / "manifest.json", identity)
    done = command(str(folder), identity)
    assert (done.returncode, done.stdout) == (0, f"ok flights {identity}\n")


def test_the_contract_may_lie_above_the_folder(folder: Path) -> None:
    (folder / "contract.yaml").rename(folder.parent / "contract.yaml")
    assert verify(folder)
    (folder.parent / "contract.yaml").write_text("columns: {}")
    with pytest.raises(VerifyError, match=r"contract\.yaml is not .*make repro"):
        verify(folder)


@pytest.mark.parametrize("name", FILES)
def test_missing_truncated_and_empty_files_are_refused(folder: Path, name: str) -> None:
    identity = sha256_file(folder / "manifest.json")
    data = (folder / name).read_bytes()
    for bad in (data[:-1], data[: len(data) // 2], b""):
        (folder / name).write_bytes(bad)
        with pytest.raises(VerifyError, match=name):
            verify(folder, identity)
    (folder / name).unlink()
    with pytest.raises(VerifyError, match=name):
        verify(folder, identity)
    done = command(str(folder), identity)
    assert done.returncode == 1 and name in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", FILES)
def test_sixty_flipped_bits_are_refused(folder: Path, name: str) -> None:
    identity = sha256_file(folder / "manifest.json")
    data = (folder / name).read_bytes()
    chance = random.Random(name)
    for _ in range(60):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (folder / name).write_bytes(changed)
        with pytest.raises(VerifyError, match=name):
            verify(folder, identity)
    (folder / name).write_bytes(data)
    assert verify(folder, identity)


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_version_are_refused(folder: Path, name: str) -> None:
    identity = sha256_file(folder / "manifest.json")
    other = folder.parent / "other"
    tiny.version(other, slope=0.002)
    (other / "contract.yaml").write_text(tiny.CONTRACT + "# another\n")
    shutil.copy(other / name, folder / name)
    with pytest.raises(VerifyError, match=name):
        verify(folder, identity)


def test_the_contract_as_json_is_checked_where_it_lies(tmp_path: Path) -> None:
    tiny.version(tmp_path)
    plain = json.dumps(yaml.safe_load(tiny.CONTRACT), indent=1)
    (tmp_path / "contract.json").write_text(plain)
    verify(tmp_path)
    (tmp_path / "contract.json").write_text(plain.replace("distance", "altitude"))
    with pytest.raises(VerifyError, match=r"contract\.json is not the reviewed file"):
        verify(tmp_path)
    (tmp_path / "contract.json").unlink()  # only a device needs it
    verify(tmp_path)


def _manifest(folder: Path, **changes: Any) -> Path:
    tiny.version(folder, **changes)
    return folder / "manifest.json"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "schema"),
        ({"name": None}, "name"),
        ({"model": {"file": "../x", "sha256": "0" * 64, "bytes": 1}}, "model.file"),
        ({"model": {"file": "m", "sha256": "0" * 63, "bytes": 1}}, "model.sha256"),
        ({"model": {"file": "m", "sha256": "0" * 64, "bytes": True}}, "model.bytes"),
        ({"contract": "no"}, "contract"),
        ({"contract": {"sha256": "0" * 64, "json_sha256": "no"}}, "json_sha256"),
        ({"contract": {"sha256": "0" * 64}}, "json_sha256"),
        ({"task": None}, "task"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": float("nan")}, "NaN"),
        ({"columns": []}, "columns"),
        ({"columns": [1]}, "columns"),
        ({"golden": []}, "golden"),
        ({"golden": [{"row": {}, "probability": 2}]}, "golden"),
    ],
)
def test_a_broken_manifest_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(VerifyError, match=words):
        load_manifest(_manifest(tmp_path, **changes))


def test_unknown_keys_of_later_manifests_are_accepted(tmp_path: Path) -> None:
    assert load_manifest(_manifest(tmp_path, parity={"rows": 1}))["parity"]


@pytest.mark.parametrize("data", [b"", b"[]", b"nothing", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(VerifyError, match=r"manifest\.json is not a manifest"):
        load_manifest(tmp_path / "manifest.json")


def test_it_needs_the_standard_library_only() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import verify; "
        "bad = {'numpy', 'yaml', 'onnxruntime', 'msgspec'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    folder = str(tiny.ROOT / "mlgitops/serving")
    assert subprocess.run([sys.executable, "-S", "-c", code, folder]).returncode == 0


def test_smoke_answers_the_golden_rows_or_refuses(folder: Path) -> None:
    def smoke() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mlgitops.serving.smoke", str(folder)],
            cwd=tiny.ROOT,
            capture_output=True,
            text=True,
        )

    assert smoke().returncode == 0
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["golden"][0]["probability"] += 0.01
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = smoke()
    assert done.returncode == 1 and "golden" in done.stderr
    assert "Traceback" not in done.stderr
