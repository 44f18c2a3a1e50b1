"""The model card of a version, written from its manifest, its verdict and its contract.

The header is Hugging Face's, so that the card renders there too:
https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml

from mlgitops import report
from mlgitops.judgement import Fairness, MetricResult, checks
from mlgitops.release import Record
from mlgitops.release.registry import Version

FILE = "README.md"


def card(
    version: Version, manifest: Record, verdict: Record, contract: bytes, page: str = ""
) -> str:
    """Return the card: YAML header and Markdown; the same facts give the same text.

    ``page`` is the file beside it that explains the version, if there is one.
    """
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
        f"## What it passed\n\n{report.all_checks(checks(verdict['checks']))}",
        f"## What it learnt from\n\n{_training(manifest)}",
        f"## Where it comes from\n\n{_origin(version, verdict, page)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(manifest: Record, verdict: Record, terms: Record) -> Mapping[str, object]:
    """Return what a hub reads: kind of model, and its measured numbers."""
    results = [
        {"type": m["id"], "name": m["label"], "value": round(m["challenger"], 6)}
        for m in verdict["metrics"]
    ]
    number = manifest["task"] == "regression"
    task = f"tabular-{'regression' if number else 'classification'}"
    data = {
        "name": f"newest rows of {terms['name']}, held out",
        "type": str(terms["name"]),
        "revision": manifest["data"]["sha256"],
    }
    index = {"task": {"type": task}, "dataset": data, "metrics": results}
    return {
        "library_name": "onnx",
        "pipeline_tag": task,
        "tags": [task, "onnx", *([] if _is_frozen(manifest) else ["scikit-learn"])],
        "model-index": [{"name": str(manifest["name"]), "results": [index]}],
    }


def _purpose(manifest: Record, terms: Record) -> str:
    """Say what is predicted, from what, and how it is decided."""
    file = Path("pyproject.toml")
    project = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    purpose = str(project.get("project", {}).get("description", ""))
    columns = ", ".join(map(report.code, manifest["columns"]))
    return (
        f"{report.text(purpose, 300)}\n\nIt predicts {_prediction(manifest, terms)}"
        f"{_beside(manifest)}. "
        f"It takes {columns}, within the ranges and categories of `contract.yaml`; it "
        "was not evaluated on other rows, times or places."
    )


def _prediction(manifest: Record, terms: Record) -> str:
    """Say what a prediction is, and what is decided from it."""
    target = report.code(terms["target"])
    if "threshold" in manifest:
        threshold = f"{manifest['threshold']:g}"
        return f"the probability that {target} is 1, and decides 1 from {threshold} on"
    if classes := manifest.get("classes"):
        names = ", ".join(map(report.code, classes))
        return f"the probability of each {target} ({names}), and the likeliest"
    return f"a number: what {target} will be"


def _beside(manifest: Record) -> str:
    """Say what is said beside a prediction, where something is."""
    stated = manifest.get("intervals")
    if not stated:
        return ""
    kind = "the classes" if isinstance(stated["quantile"], list) else "an interval"
    each = ", whichever class is true," if stated["by_class"] else ""
    return (
        f"; beside it stands {kind} that the truth is to be in{each} with the chance "
        f"{stated['coverage']:g}"
    )


def _override(verdict: Record) -> str:
    """Say who let it pass against which rule, if somebody did."""
    override = verdict.get("override")
    if not override:
        return ""
    rules = ", ".join(map(report.text, override["checks"]))
    return (
        f"**Overruled by {report.text(override['by'])}:** {rules}. Reason: "
        f"{report.text(override['reason'], 300)}"
    )


def _metrics(verdict: Record) -> str:
    """Every metric, beside the champion's of that day."""
    metrics = msgspec.convert(verdict["metrics"], list[MetricResult])
    rows = (
        [
            report.text(metric.label),
            *map(report.number, (metric.challenger, metric.champion)),
            report.interval(metric),
        ]
        for metric in metrics
    )
    header = ["Metric", "This version", "Champion then", "Interval of the difference"]
    return report.table(header, rows)


def _fairness(verdict: Record) -> str:
    """How alike groups were treated."""
    rows = [
        [
            report.code(column.column),
            report.text(gap.rate),
            report.number(gap.challenger),
            report.interval(gap),
            " above ".join(map(report.code, gap.pair)),
        ]
        for column in msgspec.convert(verdict["fairness"], list[Fairness])
        for gap in column.gaps
    ]
    header = ["Groups", "Rate", "Largest gap", "Interval", "Between"]
    return f"## Fairness\n\n{report.table(header, rows)}" if rows else ""


def _is_frozen(manifest: Record) -> bool:
    """Tell whether the model is a pretrained file, and nothing was trained here."""
    return bool((manifest.get("pretrained") or {}).get("role") == "model")


def _training(manifest: Record) -> str:
    """What it learnt from, with which settings."""
    data, frozen = manifest["data"], manifest.get("pretrained")
    note = ""
    if frozen:
        name = report.code(frozen["file"])
        note = f"An estimator was trained on the outputs of {name}, which stayed as is."
        if _is_frozen(manifest):
            note = (
                f"Nothing was trained here: the model is {name}. The rows below are "
                "what production is compared with; what the file has learnt from is "
                "not known here."
            )
        keys = ("source", "licence", "sha256")
        note += f"\n\n{report.pairs({name: frozen[name] for name in keys})}\n\n"
    return note + report.pairs(
        {
            "estimator": manifest["params"].get("estimator"),
            "rows": f"{data.get('train_rows', 0):,}",
            "from": data.get("train_from", "rows have no time"),
            "until": data.get("train_until", "rows have no time"),
            "data, sha256": data.get("sha256"),
            "model, sha256": manifest["model"]["sha256"],
        }
    )


def _origin(version: Version, verdict: Record, page: str) -> str:
    """Where it comes from, and how to check that."""
    where = f"[{page}]({page}) and " if page else ""
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
        f"{report.pairs(pairs)}\n\nCheck a download with "
        "`python -m mlgitops verify FOLDER SHA256`; `make audit` says what it served, "
        f"{where}`make explain VERSION={version.version}` where it fails, and why."
    )
