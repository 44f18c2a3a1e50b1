"""The model card of a version, written from its manifest, its verdict and its contract.

The header is Hugging Face's, so that the card renders there too:
https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from mlgitops import report
from mlgitops.judgement import Fairness, MetricResult, checks
from mlgitops.release.registry import Version

FILE = "README.md"
Facts = Mapping[str, Any]


def card(version: Version, manifest: Facts, verdict: Facts, contract: bytes) -> str:
    """Return the card: YAML header and Markdown; the same facts give the same text."""
    terms = yaml.safe_load(contract)
    header = yaml.safe_dump(_header(manifest, verdict, terms), sort_keys=False)
    parts = [
        f"---\n{header}---",
        f"# {report.text(manifest['name'])} {version.version}",
        _purpose(manifest, terms),
        _override(verdict),
        f"## How well it does\n\n{report.text(verdict['summary'], 600)}",
        _metrics(verdict),
        _fairness(verdict),
        _checks(verdict),
        _training(manifest),
        _origin(version, verdict),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(manifest: Facts, verdict: Facts, terms: Facts) -> dict[str, Any]:
    """Return what a hub reads: kind of model, and its measured numbers."""
    results = [
        {"type": m["id"], "name": m["label"], "value": round(m["challenger"], 6)}
        for m in verdict.get("metrics") or []
    ]
    number = manifest.get("task") == "regression"
    task = {"type": f"tabular-{'regression' if number else 'classification'}"}
    data = {
        "name": f"newest rows of {terms['name']}, held out",
        "type": str(terms["name"]),
        "revision": manifest["data"]["sha256"],
    }
    index = {"task": task, "dataset": data, "metrics": results}
    return {
        "library_name": "onnx",
        "pipeline_tag": task["type"],
        "tags": [task["type"], "onnx", "scikit-learn"],
        "model-index": [{"name": str(manifest["name"]), "results": [index]}],
    }


def _purpose(manifest: Facts, terms: Facts) -> str:
    """Say what is predicted, from what, and how it is decided."""
    file = Path("pyproject.toml")
    whole = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    purpose = str(whole.get("project", {}).get("description", ""))
    columns = ", ".join(map(report.code, manifest["columns"]))
    return (
        f"{report.text(purpose, 300)}\n\nIt answers with {_answer(manifest, terms)}. "
        f"It takes {columns}, within the ranges and categories of `contract.yaml`; for "
        "other rows, times and places it was never tried."
    )


def _answer(manifest: Facts, terms: Facts) -> str:
    """Say what an answer is, and what is decided from it."""
    target = report.code(terms["target"])
    if "threshold" in manifest:
        least = f"{manifest['threshold']:g}"
        return f"the probability that {target} is 1, and decides so from {least} on"
    if classes := manifest.get("classes"):
        named = ", ".join(map(report.code, classes))
        return f"the probability of each {target} ({named}), and the likeliest"
    return f"a number: what {target} will be"


def _override(verdict: Facts) -> str:
    """Say who let it pass against which rule, if somebody did."""
    found = verdict.get("override")
    if not found:
        return ""
    rules = ", ".join(report.text(name) for name in found["checks"])
    return (
        f"**Overruled by {report.text(found['by'])}:** {rules}. Reason: "
        f"{report.text(found['reason'], 300)}"
    )


def _metrics(verdict: Facts) -> str:
    """Every measure, beside the champion's of that day."""
    rows = [
        [
            report.text(m.label),
            report.number(m.challenger),
            report.number(m.champion),
            report.interval(m),
        ]
        for m in msgspec.convert(verdict.get("metrics") or [], list[MetricResult])
    ]
    header = [
        "MetricResult",
        "This version",
        "Champion then",
        "Interval of the difference",
    ]
    return report.table(header, rows) if rows else ""


def _fairness(verdict: Facts) -> str:
    """How alike groups were treated."""
    rows = [
        [
            report.code(column.column),
            report.text(gap.rate),
            report.number(gap.challenger),
            report.interval(gap),
            " above ".join(map(report.code, gap.pair)),
        ]
        for column in msgspec.convert(verdict.get("fairness") or [], list[Fairness])
        for gap in column.gaps
    ]
    header = ["Groups", "Rate", "Largest gap", "Interval", "Between"]
    return f"## Fairness\n\n{report.table(header, rows)}" if rows else ""


def _checks(verdict: Facts) -> str:
    """What it had to pass."""
    return f"## What it passed\n\n{report.all_checks(checks(verdict['checks']))}"


def _training(manifest: Facts) -> str:
    """What it learnt from, with which settings."""
    data = manifest["data"]
    pairs = {
        "estimator": manifest["params"].get("estimator"),
        "rows": f"{data.get('train_rows', 0):,}",
        "from": data.get("train_from"),
        "until": data.get("train_until"),
        "data, sha256": data.get("sha256"),
        "model, sha256": manifest["model"]["sha256"],
    }
    return f"## What it learnt from\n\n{report.pairs(pairs)}"


def _origin(version: Version, verdict: Facts) -> str:
    """Where it comes from, and how to check that."""
    pairs = {
        "version": version.tag,
        "manifest, sha256": version.manifest_sha256,
        "commit": version.commit,
        "pull request": verdict.get("pull_request"),
        "proposed by": verdict.get("author"),
        "judged at": verdict.get("time"),
        "by the rules of": verdict.get("rules_sha"),
    }
    return (
        f"## Where it comes from\n\n{report.pairs(pairs)}\n\nCheck a download with "
        "`python -m mlgitops verify FOLDER SHA256`; `make audit` says what it served."
    )
