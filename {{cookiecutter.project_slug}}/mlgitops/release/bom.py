"""Bills of materials in CycloneDX 1.6: of a version's model, and of its server.

Written from what is hashed anyway: the manifest, the verdict, the pinned requirements.
No clock and no chance, so that the same version gives the same bytes.
https://cyclonedx.org/docs/1.6/json/
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping

from packaging.requirements import Requirement

from mlgitops.release import Record
from mlgitops.release.registry import Version
from mlgitops.release.server import Server

LINUX = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
Component = dict[str, object]


def model(version: Version, manifest: Record, verdict: Record) -> bytes:
    """Return the bill of a model: its bytes, its data, how well it does."""
    data, name = manifest["data"], manifest["name"]
    measured = [
        {"type": metric["label"], "value": f"{metric['challenger']:.6g}"}
        for metric in verdict["metrics"]
    ]
    card = {
        "modelParameters": {
            "task": manifest["task"],
            "architectureFamily": str(manifest["params"].get("estimator")),
            "datasets": [{"ref": "data"}],
            "inputs": [{"format": column} for column in manifest["columns"]],
        },
        "quantitativeAnalysis": {"performanceMetrics": measured},
    }
    facts = {
        "manifest_sha256": version.manifest_sha256,
        "contract_sha256": manifest["contract"]["sha256"],
        "code_sha256": manifest["code"]["sha256"],
        "requirements_sha256": manifest["requirements"]["sha256"],
        "commit": version.commit,
        "threshold": manifest.get("threshold"),
        "rows": data.get("train_rows"),
        "trained_from": data.get("train_from"),
        "trained_until": data.get("train_until"),
    }
    training_data: Component = {
        "type": "data",
        "bom-ref": "data",
        "name": f"data of {name}",
        "data": [{"type": "dataset", "name": f"rows of {name}"}],
        "hashes": [sha256(data["sha256"])],
    }
    main = _model(version, manifest, facts) | {"modelCard": card}
    parts = [training_data, *_pretrained(manifest)]
    return bill(f"model {version.manifest_sha256}", main, parts)


def _pretrained(manifest: Record) -> list[Component]:
    """Return the file that the model is, or stands on, with its licence and source."""
    if not (frozen := manifest.get("pretrained")):
        return []
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": "pretrained",
            "name": frozen["file"],
            "hashes": [sha256(frozen["sha256"])],
            "licenses": [{"expression": frozen["licence"]}],
            "properties": properties(
                {"source": frozen["source"], "role": frozen["role"]}
            ),
        }
    ]


def _model(
    version: Version, manifest: Record, facts: Mapping[str, object]
) -> Component:
    """Return a model as a component."""
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest["name"],
        "version": version.version,
        "hashes": [sha256(manifest["model"]["sha256"])],
        "properties": properties(facts),
    }


def server(version: Version, manifest: Record, code: Server, lock: str) -> bytes:
    """Return the bill of a server: packages by their pinned hashes, and the model."""
    main: Component = {
        "type": "application",
        "bom-ref": "server",
        "name": f"server of {manifest['name']}",
        "version": version.version,
        "properties": properties({"server_sha256": code.sha256, "commit": code.commit}),
    }
    inside = _model(version, manifest, {"manifest_sha256": version.manifest_sha256})
    name = f"server {code.sha256} {version.manifest_sha256}"
    return bill(name, main, [inside, *pinned(lock)])


def pinned(lock: str) -> Iterator[Component]:
    """Yield the packages that a lock installs on Linux, each with its hashes."""
    for line in re.sub(r"\\\n *", "", lock).splitlines():
        if not re.match(r"[A-Za-z0-9]", line):
            continue
        text, *hashes = line.split("--hash=sha256:")
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate(LINUX):
            continue
        number = str(requirement.specifier).removeprefix("==")
        address = f"pkg:pypi/{requirement.name.lower()}@{number}"
        files = [sha256(value.strip()) for value in hashes]
        yield {
            "type": "library",
            "bom-ref": address,
            "name": requirement.name,
            "version": number,
            "purl": address,
            "externalReferences": [
                {"type": "distribution", "url": address, "hashes": files}
            ],
        }


def bill(name: str, main: Component, parts: list[Component]) -> bytes:
    """Return a bill as JSON: the main component depends on all its parts.

    Its serial number follows from its name.
    """
    depends = [{"ref": main["bom-ref"], "dependsOn": [p["bom-ref"] for p in parts]}]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}",
        "version": 1,
        "metadata": {"component": main},
        "components": parts,
        "dependencies": depends,
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def properties(facts: Mapping[str, object]) -> list[dict[str, str]]:
    """Return the facts that are known, as CycloneDX writes them."""
    return [
        {"name": name, "value": str(fact)}
        for name, fact in facts.items()
        if fact is not None
    ]


def sha256(digest: str) -> dict[str, str]:
    """Return a hash as CycloneDX writes it."""
    return {"alg": "SHA-256", "content": digest}
