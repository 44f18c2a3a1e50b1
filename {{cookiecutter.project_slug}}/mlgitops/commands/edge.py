"""Builds bundles for devices, publishes them, and counts the devices.

    python -m mlgitops edge FOLDER BUNDLE.zip
    python -m mlgitops edge publish FOLDER [--environment NAME] [--bundle BUNDLE.zip]
    python -m mlgitops edge devices REPORTS [--environment NAME]

The first builds the bundle of a version (`edge build model.zip`: of the one in build/).
`publish` writes what the ledger says an environment runs into a folder, for an HTTP
server or a USB stick: `update.py` on a device follows it. The bundle is the release's
on GitHub, or the one given. `devices` counts the reports in a folder.
"""

import argparse
import base64
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

from mlgitops import github
from mlgitops.edge import build, devices, update
from mlgitops.ledger import CHAMPION, Ledger, LedgerError
from mlgitops.release import Record, ReleaseError, assets, signature

MANIFEST = "model/manifest.json"
ERRORS = (ReleaseError, LedgerError, github.GitHubError, OSError)


def publish(folder: Path, environment: str, bundle: Path | None = None) -> Record:
    """Write what an environment runs into a folder and return its index.

    The bundle comes first, so that an index never names one that is not there.

    Raises:
        ReleaseError: there is no such version, or its bundle is another's, or unsigned
            where main has a key.
    """
    ledger = Ledger()
    release = ledger.champion(environment)
    if release is None:
        raise ReleaseError(
            f"no version was deployed to {environment} yet: merge one first "
            "(`make audit` lists what served)"
        )
    data, signed = _local(bundle) if bundle else _released(str(release["tag"]))
    _check_version(data, release)
    signed = signed or signature.of_files({"b": data}, ["b"]).get("b.sig", b"")
    if signature.PUBLIC.is_file() and not signed:
        raise ReleaseError(
            f"main has {signature.PUBLIC}, and this bundle is not signed: leave "
            "--bundle out to publish the release's, or set SIGNING_KEY"
        )
    digest = hashlib.sha256(data).hexdigest()
    index: Record = {
        "schema": 1,
        "environment": environment,
        **{name: release[name] for name in ("seq", "action", "version", "tag")},
        "manifest_sha256": release["manifest_sha256"],
        "withdrawn": withdrawn(ledger, environment, release["manifest_sha256"]),
        "bundle_sha256": digest,
        "bundle_bytes": len(data),
        "signature": base64.b64encode(signed).decode(),
    }
    files = {"o": update.statement(index)}
    if order := signature.of_files(files, ["o"]).get("o.sig"):
        index["order_signature"] = base64.b64encode(order).decode()
    elif signature.PUBLIC.is_file() and _ordered(folder, environment):
        raise ReleaseError(
            f"the index in {folder} has a signed order, and devices that saw it refuse "
            "one without: set SIGNING_KEY"
        )
    folder.mkdir(parents=True, exist_ok=True)
    update.write(folder / f"{digest}.zip", data)
    update.write(folder / "update.py", Path(update.__file__).read_bytes())
    text = json.dumps(index, indent=1) + "\n"
    update.write(folder / f"{environment}.json", text.encode())
    return index


def _ordered(folder: Path, environment: str) -> bool:
    """Tell whether the index that is to be replaced has a signed order."""
    try:
        return bool(update.load(folder / f"{environment}.json").get("order_signature"))
    except (OSError, ValueError):
        return False


def withdrawn(ledger: Ledger, environment: str, current: str) -> list[str]:
    """Return the versions of an environment that were taken back with every server."""
    pairs = {
        (str(r["manifest_sha256"]), str((r.get("server") or {}).get("sha256")))
        for r in ledger.history(environment)
    }
    kept = {
        manifest for manifest, code in pairs if not ledger.withdrawal(manifest, code)
    }
    return sorted({manifest for manifest, _ in pairs} - kept - {current})


def _local(path: Path) -> tuple[bytes, bytes]:
    """Return a bundle on this disk, and its signature if it lies beside it."""
    signed = path.with_name(f"{path.name}.sig")
    return path.read_bytes(), signed.read_bytes() if signed.is_file() else b""


def _released(tag: str) -> tuple[bytes, bytes]:
    """Return the bundle of a release on GitHub, and its signature if it has one."""
    release = assets.find(tag)
    present = {asset["name"]: asset for asset in (release["assets"] if release else [])}
    names = [name for name in present if name.endswith("-edge.zip")]
    if len(names) != 1:
        raise ReleaseError(
            f"the release {tag} has no edge bundle: build one with `python -m mlgitops "
            "edge build BUNDLE.zip` and give it with --bundle"
        )
    signed = present.get(f"{names[0]}.sig")
    return assets.download(present[names[0]]), assets.download(
        signed
    ) if signed else b""


def _check_version(data: bytes, release: Record) -> None:
    """Refuse a bundle of another version than the ledger's."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            manifest = hashlib.sha256(archive.read(MANIFEST)).hexdigest()
    except (zipfile.BadZipFile, KeyError) as error:
        raise ReleaseError(f"this is not an edge bundle: {error}") from error
    if manifest != release["manifest_sha256"]:
        raise ReleaseError(
            f"this bundle has the manifest {manifest}, and {release['environment']} "
            f"runs {release['manifest_sha256']} ({release['version']})"
        )


def count(folder: Path, environment: str) -> list[str]:
    """Return what the devices that report to a folder run, against the ledger.

    Raises:
        ReleaseError: there is no such folder.
    """
    if not folder.is_dir():
        raise ReleaseError(f"{folder} is not a folder: name the one with the reports")
    reports, broken = devices.load(folder)
    members = [device for device in reports if device.environment == environment]
    release = Ledger().champion(environment)
    expected = str(release["manifest_sha256"]) if release else ""
    return devices.summary(members, broken, expected)


def main() -> None:
    """Do what the first word says; an error is one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if sys.argv[1:2] not in (["publish"], ["devices"], ["--help"], ["-h"]):
        build.main()
        return
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, help in (("publish", "write a folder"), ("devices", "count reports")):
        kind = kinds.add_parser(name, help=help)
        kind.add_argument("folder", type=Path)
        kind.add_argument("--environment", default=CHAMPION)
        if name == "publish":
            kind.add_argument("--bundle", type=Path)
    options = parser.parse_args()
    try:
        if options.kind == "devices":
            print("\n".join(count(options.folder, options.environment)))
            return
        index = publish(options.folder, options.environment, options.bundle)
    except ERRORS as error:
        raise SystemExit(f"refused: {error}") from None
    print(f"{options.folder} has {index['version']} for {index['environment']}")
