"""Waits until a target itself says that it runs a version, and asks it golden rows.

Where the target of ``staging`` is, the variable ``STAGING_URL`` says, and so on: an
address to ask, ``agent`` for one that reports by deployment status, nothing for none.
A workflow hands over all of GitHub's variables at once, as it cannot know their names.
Where a server wants a token, it is the secret ``SERVER_TOKEN`` of the environment.
"""

import json
import os
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from mlgitops.github import GitHubError
from mlgitops.prediction_log import GOLDEN, metadata
from mlgitops.release import (
    HostError,
    Record,
    ReleaseError,
    TargetError,
    deployments,
    environments,
)
from mlgitops.serving.verify import distance

POLL = 1.0  # seconds between two looks at GitHub at first; later a tenth of the wait
REPORTS = (
    60  # looks at GitHub, which counts them: 1,000 an hour for all of a repository
)
EVERY = 0.2  # seconds between two looks at the target itself
PATIENCE = 10.0  # seconds for one answer
TOLERANCE = 1e-5  # float32 answers of the same file on another CPU
BROKEN = (OSError, ValueError, KeyError, TypeError, HTTPException)


def address(environment: str) -> str:
    """Return where the target of an environment is."""
    name = environments.variable(environment)
    variables = json.loads(os.environ.get("VARIABLES") or "{}")  # all of GitHub's
    url = os.environ.get(name) or variables.get(name) or ""
    return str(url).strip().rstrip("/")


def wait(record: Record, golden: list[Record], seconds: float) -> str:
    """Wait for the target and return the state reached: published or confirmed.

    Raises:
        TargetError: it reported a failure, answers otherwise, or not in time.
        HostError: its host is at fault, or was silent from the start.
    """
    environment = record["environment"]
    url = address(environment)
    if not url:
        return "published"
    manifest = record["manifest_sha256"]
    code = record["server"]["sha256"]
    reports, begun = Reports(record["deployment_id"], seconds), time.monotonic()
    heard = url != "agent" and not _silent(url)  # the release before it may answer
    while True:
        report = reports.newest()
        if report["state"] == "error":
            raise HostError(f"the host is at fault: {report['description']}")
        if report["state"] == "failure":
            raise TargetError(f"the target reported a failure: {report['description']}")
        if url == "agent":
            if reports.error and time.monotonic() >= begun + seconds:
                raise reports.error  # a limit of GitHub's is no verdict on a release
            status = f"its last report is {report['state'] or 'none'}"
            ready = report["state"] == "success"
        else:
            status, ready = identify(url, manifest, code, environment)
            if ready and (problem := ask_golden(url, golden, manifest)):
                status, ready = problem, False
        if ready:
            return "confirmed"
        if time.monotonic() >= begun + seconds:
            # An agent would have reported a failure, and a server that refuses answers.
            host = url == "agent" or (not heard and _silent(url))
            kind = HostError if host else TargetError
            raise kind(
                f"{environment} did not come up with {record['version']} within "
                f"{seconds:g} s: {status}"
            )
        time.sleep(min(POLL, EVERY))


class Reports:
    """The newest report of a target on GitHub, asked for ever more rarely."""

    def __init__(self, deployment: int, seconds: float) -> None:
        """``seconds`` is how long somebody waits for it."""
        self.deployment, self.seconds = deployment, seconds
        self.begun = time.monotonic()
        self.next, self.left = self.begun, REPORTS
        self.report = {"state": "", "description": ""}
        self.error: GitHubError | None = None

    def newest(self) -> dict[str, str]:
        """Return it; if GitHub refuses to tell, the one before."""
        now = time.monotonic()
        if now < self.next or not self.left:
            return self.report
        self.left -= 1
        try:
            self.report, self.error = deployments.reported(self.deployment), None
        except GitHubError as error:
            self.error = error
        end = self.begun + self.seconds
        later = now + max(POLL, (now - self.begun) / 10)
        self.next = end if self.left == 1 else min(later, max(end, now + POLL))
        return self.report


def ask_golden(url: str, golden: list[Record], manifest_sha256: str) -> str:
    """Compare a target's answers with the golden rows; return why it gave none.

    While versions are switched, the one before may still answer: it says who it is.

    Raises:
        TargetError: it answers something else than the reviewed model.
    """
    try:
        # the ids tell readers of the prediction log who asked
        key, _ = metadata({name for entry in golden for name in entry["row"]})
        rows = [{key: GOLDEN.format(n), **e["row"]} for n, e in enumerate(golden)]
        response = _get(f"{url}/predict", {"rows": rows})
        running, predictions = str(response["manifest_sha256"]), response["predictions"]
        if not isinstance(predictions, list):
            raise TypeError("its predictions are not a list")
        count = min(len(predictions), len(golden))
        worst = distance(golden[:count], predictions[:count]) if count else 0.0
    except BROKEN as error:
        return f"{url} does not answer golden rows ({error})"
    if running != manifest_sha256:
        return f"golden rows were answered by {running[:12]}"
    if len(predictions) != len(golden) or not worst <= TOLERANCE:
        raise TargetError(
            f"{url} answers {len(predictions)} of {len(golden)} golden rows, up to "
            f"{worst:.3g} away from what was reviewed"
        )
    return ""


def identify(
    url: str, manifest_sha256: str, server_sha256: str, environment: str = ""
) -> tuple[str, bool]:
    """Ask a target what it runs: a description, and whether it is ready with these.

    A server that was not told what it is, is believed to be the right one.
    """
    try:
        info = _get(f"{url}/info")
    except BROKEN as error:
        return f"{url}/info does not answer ({error})", False
    running = str(info.get("manifest_sha256"))
    ready = bool(info.get("ready", True))
    code = str(info.get("server_sha256") or server_sha256)
    description = f"it runs {running[:12]} with server {code[:12]}"
    expected = (running, code) == (manifest_sha256, server_sha256)
    if environment and info.get("environment") not in (None, environment):
        description += f" of the environment {info['environment']}"
        expected = False
    return description + ("" if ready else ", not ready"), expected and ready


def refuses(url: str, body: object) -> bool:
    """Tell whether a target refuses a body of /predict as the caller's mistake."""
    try:
        _get(f"{url}/predict", body)
    except urllib.error.HTTPError as error:
        return 400 <= error.code < 500
    except BROKEN:  # it fell over, or sent something else than an answer
        return False
    return False


def authorization(url: str) -> dict[str, str]:
    """Return the header with SERVER_TOKEN, where there is one.

    Raises:
        ReleaseError: it would cross the network unencrypted, or is not one token.
    """
    token, target = os.environ.get("SERVER_TOKEN", "").strip(), urlsplit(url)
    here = target.hostname in ("127.0.0.1", "::1", "localhost")
    if token and not re.fullmatch(r"[!-~]+", token):  # http.client would print it
        raise ReleaseError(
            "SERVER_TOKEN is not one token: it has a space or a line end"
        )
    if token and target.scheme != "https" and not here:
        raise ReleaseError(
            f"{url} would get SERVER_TOKEN unencrypted: it must begin with https://"
        )
    return {"Authorization": f"Bearer {token}"} if token else {}


def _silent(url: str) -> bool:
    """Tell whether nothing at all answers at an address."""
    try:
        _get(f"{url}/info")
    except urllib.error.HTTPError:
        return False
    except BROKEN as error:
        return isinstance(error, OSError)
    return False


def _get(url: str, body: object = None) -> dict[str, object]:
    """Return a target's JSON answer."""
    if not url.startswith(("http://", "https://")):
        raise ReleaseError(f"{url} is not an address: it must begin with https://")
    data = None if body is None else json.dumps(body).encode()
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, head)  # noqa: S310 (checked above)
    for name, value in authorization(url).items():
        request.add_unredirected_header(name, value)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
        return dict(json.loads(response.read(10_000_000)))
