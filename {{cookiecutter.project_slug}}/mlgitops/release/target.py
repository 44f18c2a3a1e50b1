"""Waits until a target itself says that it runs a version, and asks it golden rows.

Where the target of ``staging`` is, the variable ``STAGING_URL`` says, and so on: an
address to ask, ``agent`` for one that reports by deployment status, nothing for none.
A workflow hands over all of GitHub's variables at once, as it cannot know their names.
"""

import json
import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from mlgitops import github
from mlgitops.release import Record, ReleaseError, TargetError, environments
from mlgitops.serving.verify import distance

POLL = 1.0  # seconds between two looks at GitHub, which counts them
LOOKS = 5  # at the target itself in that time
PATIENCE = 10.0  # seconds for one answer
TOLERANCE = 1e-5  # float32 answers of the same file on another CPU
BROKEN = (OSError, ValueError, KeyError, TypeError, HTTPException)
FINAL = ("success", "failure", "error", "inactive")


def address(environment: str) -> str:
    """Return where the target of an environment is."""
    name = environments.variable(environment)
    given = os.environ.get(name) or _variables().get(name) or ""
    return given.strip().rstrip("/")


def _variables() -> dict[str, str]:
    """Return GitHub's variables as a workflow hands them over."""
    return dict(json.loads(os.environ.get("VARIABLES") or "{}"))


def wait(record: Record, golden: list[Record], seconds: float) -> str:
    """Wait for the target and return the state reached: published or confirmed.

    Raises:
        TargetError: it reported a failure, answers otherwise, or not in time.
    """
    place = address(record["environment"])
    if not place:
        return "published"
    deadline, look_at = time.monotonic() + seconds, 0.0
    while True:
        if time.monotonic() >= look_at:
            agent = reported(record["deployment_id"])
            look_at = time.monotonic() + POLL
        if agent["state"] in ("failure", "error"):
            raise TargetError(f"the target reported a failure: {agent['description']}")
        if place == "agent":
            answer = f"its last report is {agent['state'] or 'none'}"
            done = agent["state"] == "success"
        else:
            code = (record.get("server") or {}).get("sha256", "")
            manifest = record["manifest_sha256"]
            answer, done = asked(place, manifest, code)
            if done and (problem := ask_golden(place, golden, manifest)):
                answer, done = problem, False
        if done:
            return "confirmed"
        if time.monotonic() >= deadline:
            raise TargetError(
                f"{record['environment']} did not come up with {record['version']} "
                f"within {seconds:g} s: {answer}"
            )
        time.sleep(POLL if place == "agent" else POLL / LOOKS)


def reported(deployment: int | None) -> dict[str, str]:
    """Return the newest status of a deployment: its state and description."""
    none = {"state": "", "description": ""}
    if deployment is None:
        return none
    found = github.pages(f"deployments/{deployment}/statuses")
    newest = max(found, key=lambda status: int(status["id"]), default=none)
    return {key: str(newest.get(key) or "") for key in none}


def ask_golden(place: str, golden: list[Record], manifest_sha256: str) -> str:
    """Compare a target's answers with the golden rows; return why it gave none.

    While versions are switched, the one before may still answer: it says who it is.

    Raises:
        TargetError: it answers something else than the reviewed model.
    """
    try:
        named = enumerate(golden)  # so that the prediction log tells who asked
        rows = [{"id": f"golden-{n}", **item["row"]} for n, item in named]
        said = _get(f"{place}/predict", {"rows": rows})
        running, answers = str(said["manifest_sha256"]), said["predictions"]
        count = min(len(answers), len(golden))
        worst = distance(golden[:count], answers[:count]) if count else 0.0
    except BROKEN as error:
        return f"{place} does not answer golden rows ({error})"
    if running != manifest_sha256:
        return f"golden rows were answered by {running[:12]}"
    if len(answers) != len(golden) or not worst <= TOLERANCE:
        raise TargetError(
            f"{place} answers {len(answers)} of {len(golden)} golden rows, up to "
            f"{worst:.3g} away from what was reviewed"
        )
    return ""


def asked(place: str, manifest_sha256: str, server_sha256: str) -> tuple[str, bool]:
    """Ask a target what it runs: its answer in words, and whether it is the one.

    A server that was not told what it is, is believed to be the right one.
    """
    try:
        info = _get(f"{place}/info")
    except BROKEN as error:
        return f"{place}/info does not answer ({error})", False
    running = str(info.get("manifest_sha256"))
    ready = bool(info.get("ready", True))
    code = str(info.get("server_sha256") or server_sha256)
    words = f"it runs {running[:12]} with server {code[:12]}"
    same = (running, code) == (manifest_sha256, server_sha256)
    return words + ("" if ready else ", not ready"), same and ready


def refuses(place: str, body: Any) -> bool:
    """Tell whether a target refuses a body of /predict as the caller's mistake."""
    try:
        _get(f"{place}/predict", body)
    except urllib.error.HTTPError as error:
        return 400 <= error.code < 500
    except BROKEN:  # it fell over, or said something that is no answer
        return False
    return False


def _get(url: str, body: Any = None) -> dict[str, Any]:
    """Return a target's JSON answer."""
    if not url.startswith(("http://", "https://")):
        raise ReleaseError(f"{url} is not an address: it must begin with https://")
    data = None if body is None else json.dumps(body).encode()
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, head)  # noqa: S310 (checked above)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        return dict(json.loads(answer.read(10_000_000)))
