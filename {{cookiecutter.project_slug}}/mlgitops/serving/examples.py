"""Examples of a description: golden rows as requests, and clients that send them."""

import json
import shlex
import struct
from collections.abc import Mapping
from typing import Any

from mlgitops.serving.schemas import Version
from mlgitops.serving.verify import BESIDE, OUTPUTS

URL = "http://127.0.0.1:8080"  # of `make serve`
MOMENT = "2013-04-01T12:00:00Z"
CURL = "curl {url}/predict -H 'Content-Type: application/json' -d {body}\n"
PYTHON = """\
import json
from urllib.request import Request, urlopen

rows = {rows}
body = json.dumps({{"rows": rows}}).encode()
request = Request("{url}/predict", body, {{"Content-Type": "application/json"}})
with urlopen(request) as response:
    for prediction in json.load(response)["predictions"]:
        print(prediction)
"""
JAVASCRIPT = """\
const rows = {rows};
const request = {{
  method: "POST",
  headers: {{"Content-Type": "application/json"}},
  body: JSON.stringify({{rows}}),
}};
fetch("{url}/predict", request).then(async (response) => {{
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  for (const prediction of answer.predictions) console.log(prediction);
}});
"""


def body(version: Version) -> dict[str, Any]:
    """Return the body of a request: the first golden row, without what is sensitive."""
    id_name, time_name = version.names
    hidden = set(version.contract.get("sensitive") or ())
    row = {name: v for name, v in version.manifest["golden"][0]["row"].items()}
    for name in hidden & row.keys():
        row[name] = STAND_INS.get(version.columns[name]["type"], "")
        if version.columns[name]["missing"]:
            row[name] = None
    named = {id_name: "example-1"} | ({time_name: MOMENT} if time_name else {})
    return {"rows": [named | row]}


STAND_INS = {  # for a sensitive value that may not be missing
    **{"number": 0, "integer": 0, "boolean": False},
    **{"datetime": MOMENT, "category": "unknown", "text": "x"},
}


def response(version: Version) -> dict[str, Any] | None:
    """Return the response to `body`; None where a sensitive column decides it."""
    manifest = version.manifest
    hidden = set(version.contract.get("sensitive") or ())
    if hidden & set(manifest["columns"]):
        return None
    golden = manifest["golden"][0]
    decided = DECIDED[manifest["task"]](golden, manifest)
    extra = {name: golden[name] for name in BESIDE if name in golden}
    prediction = {"id": "example-1", **decided, **extra}
    stated = manifest.get("intervals") or {}
    if stated.get("abstain") and len(golden.get("set", ())) != 1:
        prediction["class" if "class" in decided else "decision"] = None
    return {**version.identity, "predictions": [prediction]}


def _single(number: float) -> float:
    """Return a number as float32 has it."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _binary(golden: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    probability = _single(golden["probability"])
    threshold = _single(manifest["threshold"])
    return {"probability": probability, "decision": probability >= threshold}


def _multiclass(
    golden: Mapping[str, Any], manifest: Mapping[str, Any]
) -> dict[str, Any]:
    by_class = {name: golden["probabilities"][name] for name in manifest["classes"]}
    return {"probabilities": by_class, "class": max(by_class, key=by_class.__getitem__)}


def _regression(golden: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    return {OUTPUTS["regression"]: golden["value"]}


DECIDED = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}


def clients(version: Version) -> list[dict[str, str]]:
    """Return a client in each language, which sends `body` to this machine."""
    request = body(version)
    text = json.dumps(request)
    # In a literal of JavaScript this name alone would set something else.
    literal = json.dumps(request["rows"]).replace('"__proto__":', '["__proto__"]:')
    sources = {
        "curl": ("Shell", CURL.format(url=URL, body=shlex.quote(text))),
        "Python": ("Python", PYTHON.format(url=URL, rows=ascii(request["rows"]))),
        "JavaScript": ("JavaScript", JAVASCRIPT.format(url=URL, rows=literal)),
    }
    return [
        {"lang": language, "label": label, "source": source}
        for label, (language, source) in sources.items()
    ]
