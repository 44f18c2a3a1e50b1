"""Bills of materials in CycloneDX 1.6: of a version's model, and of its server.

Written from what is hashed anyway: the manifest, the verdict, the pinned requirements.
No clock and no chance, so that the same version gives the same bytes.
https://cyclonedx.org/docs/1.6/json/
"""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

from packaging.requirements import Requirement

from mlgitops.release import Record
from mlgitops.release.registry import Version
from mlgitops.release.server import Server

LINUX: dict[str, Any] = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
Part = dict[str, Any]


def model(version: Version, manifest: Record, verdict: Record) -> bytes:
    """Return the bill of a model: its bytes, its data, how well it does."""
    data = manifest.get("data") or {}
    measured = [
        {"type": metric["label"], "value": f"{metric['challenger']:.6g}"}
        for metric in verdict.get("metrics") or []
    ]
    card: Part = {
        "modelParameters": {
            "task": str(manifest.get("task", "binary")),
            "architectureFamily": str((manifest.get("params") or {}).get("estimator")),
            "datasets": [{"ref": "data"}],
            "inputs": [{"format": name} for name in manifest["columns"]],
        },
        "quantitativeAnalysis": {"performanceMetrics": measured},
    }
    main: Part = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest["name"],
        "version": version.version,
        "hashes": [sha256(manifest["model"]["sha256"])],
        "modelCard": card,
        "properties": properties(
            manifest_sha256=version.manifest_sha256,
            contract_sha256=manifest["contract"]["sha256"],
            code_sha256=manifest["code"]["sha256"],
            requirements_sha256=manifest["requirements"]["sha256"],
            commit=version.commit,
            threshold=manifest.get("threshold"),
            rows=data.get("train_rows"),
            trained_from=data.get("train_from"),
            trained_until=data.get("train_until"),
        ),
    }
    learnt: Part = {
        "type": "data",
        "bom-ref": "data",
        "name": f"data of {manifest['name']}",
        "data": [{"type": "dataset", "name": f"rows of {manifest['name']}"}],
    }
    if data.get("sha256"):
        learnt["hashes"] = [sha256(data["sha256"])]
    depends = [{"ref": "model", "dependsOn": ["data"]}]
    return bill(f"model {version.manifest_sha256}", main, [learnt], depends)


def server(version: Version, manifest: Record, code: Server, lock: str) -> bytes:
    """Return the bill of a server: packages by their pinned hashes, and the model."""
    packages = list(pinned(lock))
    main: Part = {
        "type": "application",
        "bom-ref": "server",
        "name": f"server of {manifest['name']}",
        "version": version.version,
        "properties": properties(server_sha256=code.sha256, commit=code.commit),
    }
    inside: Part = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest["name"],
        "version": version.version,
        "hashes": [sha256(manifest["model"]["sha256"])],
        "properties": properties(manifest_sha256=version.manifest_sha256),
    }
    needs = ["model", *(part["bom-ref"] for part in packages)]
    depends = [{"ref": "server", "dependsOn": needs}]
    name = f"server {code.sha256} {version.manifest_sha256}"
    return bill(name, main, [inside, *packages], depends)


def pinned(lock: str) -> Iterator[Part]:
    """Yield the packages that a lock installs on Linux, each with its hashes."""
    joined = re.sub(r"\\\n *", "", lock)
    for line in joined.splitlines():
        if not re.match(r"[A-Za-z0-9]", line):
            continue
        words, *hashes = line.split("--hash=sha256:")
        need = Requirement(words)
        if need.marker and not need.marker.evaluate(LINUX):
            continue
        number = str(need.specifier).removeprefix("==")
        address = f"pkg:pypi/{need.name.lower()}@{number}"
        files = [sha256(value.strip()) for value in hashes]
        yield {
            "type": "library",
            "bom-ref": address,
            "name": need.name,
            "version": number,
            "purl": address,
            "externalReferences": [
                {"type": "distribution", "url": address, "hashes": files}
            ],
        }


def bill(name: str, main: Part, parts: list[Part], depends: list[Part]) -> bytes:
    """Return a whole bill as JSON; its serial number follows from its name."""
    whole = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}",
        "version": 1,
        "metadata": {"component": main},
        "components": parts,
        "dependencies": depends,
    }
    return (json.dumps(whole, indent=2, sort_keys=True) + "\n").encode()


def properties(**given: Any) -> list[dict[str, str]]:
    """Return the facts that are known, as CycloneDX writes them."""
    known = {name: value for name, value in given.items() if value is not None}
    return [{"name": name, "value": str(value)} for name, value in known.items()]


def sha256(value: str) -> dict[str, str]:
    """Return a hash as CycloneDX writes it."""
    return {"alg": "SHA-256", "content": value}
