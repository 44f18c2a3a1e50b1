"""A small world for the tests of releases: real git, real GTO, a recorded GitHub.

Bytes come from a folder instead of DVC's storage (which has its own tests); GitHub's
answers are kept in memory behind the one function that talks to it.
"""

import copy
import functools
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from machinery import tiny
from mlgitops import git as commits
from mlgitops import github, recipe, storage
from mlgitops.commands import deploy, register
from mlgitops.ledger import Ledger, lock_path
from mlgitops.lock import Out
from mlgitops.release import registry

Record = dict[str, Any]
HEAD = "c" * 40  # of every pull request, unless it is told
CONTRACT = """\
name: flights
target: late
columns:
  distance: {type: number, missing: false}
"""
ALONE = threading.Lock()  # files come and go several at once
GOLDEN = [{"row": {"distance": n}, "probability": n / 10} for n in range(3)]


def git(*args: str, cwd: Path | str = ".") -> str:
    """Run git as a person with a name."""
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    done = subprocess.run(
        ("git", *who, *args), cwd=cwd, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class GitHub:
    """What GitHub keeps, and every call that was made."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.refused: dict[tuple[str, str], int] = {}
        self.kept: dict[str, list[Record]] = {}
        self.data: dict[int, bytes] = {}
        self.reviews: list[Record] = []
        self.approvals: list[Record] = []
        self.on_status: Callable[[int, Record], None] | None = None
        self.immutable = False  # releases, once they are published
        self.unmerged: set[int] = set()  # numbers of pull requests
        self.heads: dict[int, str] = {}  # the newest commit of each, if not HEAD

    def api(
        self,
        path: str,
        method: str = "GET",
        fields: Record | None = None,
        *,
        raw: bool = False,
        data: bytes | None = None,
        accept: str = "",
        content_type: str = "",
    ) -> Any:
        """Stand in for mlgitops.github.api."""
        url = urlsplit(path)
        query = dict(parse_qsl(url.query))
        fields = {**query, **(fields or {})}
        where = url.path.removeprefix("/repos/o/r/").strip("/")
        self.calls.append((method, where))
        for (verb, start), status in self.refused.items():
            if verb == method and where.startswith(start):
                raise github.GitHubError(status, f"GitHub refused {method} {where}")
        with ALONE:
            return self._answer(method, where.split("/"), fields, data)

    def alter(self, name: str, data: bytes) -> None:
        """Put other bytes behind a file's name, in the newest release."""
        (asset,) = [a for a in self.kept["releases"][-1]["assets"] if a["name"] == name]
        self.data[asset["id"]] = data

    def made(self, method: str, start: str) -> int:
        """Count the calls of one kind."""
        return sum(m == method and p.startswith(start) for m, p in self.calls)

    def _answer(
        self, method: str, parts: list[str], fields: Record, data: bytes | None
    ) -> Any:
        match (method, *parts):
            case ("GET", "pulls", number):
                base = {"ref": "main", "repo": {"default_branch": "main"}}
                head = {"sha": self.heads.get(int(number), HEAD)}
                merged = int(number) not in self.unmerged
                return {"merged": merged, "base": base, "head": head}
            case ("GET", "pulls", _, "reviews"):
                return self.reviews if fields.get("page", 1) == 1 else []
            case ("GET", "actions", "runs", _, "approvals"):
                return self.approvals
            case ("GET", "releases", "tags", tag):
                return self._release(tag)
            case ("POST", "releases", number, "assets"):
                return self._asset(int(number), str(fields["name"]), data or b"")
            case ("GET", "releases", "assets", number):
                return self.data[int(number)]
            case ("GET", "releases", number, "assets"):
                return self._numbered("releases", number)["assets"]
            case ("PATCH", "releases", number):
                return self._publish(self._numbered("releases", number), fields)
            case ("DELETE", "releases", number):
                gone = self._numbered("releases", number)
                self.kept["releases"] = [
                    release for release in self.kept["releases"] if release is not gone
                ]
                return b""
            case ("DELETE", "releases", "assets", number):
                for release in self.kept["releases"]:
                    release["assets"] = [
                        a for a in release["assets"] if a["id"] != int(number)
                    ]
                return b""
            case ("GET", "deployments", number, "statuses"):
                return self.kept.get(f"statuses/{number}", [])
            case ("POST", "deployments", number, "statuses"):
                return self.add(f"statuses/{number}", fields)
            case ("POST", "issues", number, "comments"):
                return self.add(f"comments/{number}", fields)
            case ("GET", "issues", number, "comments"):
                return self.kept.get(f"comments/{number}", [])
            case ("PATCH", "issues", "comments", _):
                return {"html_url": "u"}
            case ("PATCH", "issues", number):
                self.kept["issues"][int(number) - 1].update(fields)
                return {"html_url": "u"}
            case ("GET", "pulls"):
                pulls = self.kept.get("pulls", [])
                if "head" not in fields:
                    return pulls
                branch = str(fields["head"]).split(":")[-1]
                return [self.side(p) for p in pulls if p["head"] == branch]
            case ("POST", kind):
                return self.add(kind, {"assets": [], **fields})
            case ("GET", kind):
                return self.kept.get(kind, []) if fields.get("page", 1) == 1 else []
            case ("POST", *_):
                return self.add("/".join(parts), fields)
        raise github.GitHubError(404, f"no {method} {'/'.join(parts)}")

    def add(self, kind: str, fields: Record) -> Record:
        """Keep a new object."""
        many = self.kept.setdefault(kind, [])
        number = max((int(each["id"]) for each in many), default=0) + 1
        new = {"user": {"login": github.BOT}, **fields, "id": number, "number": number}
        new["html_url"] = f"{kind}/{number}"
        if kind == "releases":
            host = "https://uploads.github.com"
            new["upload_url"] = f"{host}/repos/o/r/releases/{number}/assets{{?name}}"
        many.append(new)
        return new

    def side(self, pull: Record) -> Record:
        """Return a pull request with its head as GitHub tells it."""
        repo = {"full_name": pull.get("source", "o/r")}
        return {**pull, "head": {"ref": pull["head"], "repo": repo}}

    def _release(self, tag: str) -> Record:
        for release in self.kept.get("releases", []):
            if release["tag_name"] == tag and not release.get("draft"):
                return release
        raise github.GitHubError(404, "Not Found")

    def _numbered(self, kind: str, number: str) -> Record:
        for each in self.kept.get(kind, []):
            if each["id"] == int(number):
                return each
        raise github.GitHubError(404, "Not Found")

    def _publish(self, release: Record, fields: Record) -> Record:
        """Publish a draft: one release for a tag, and no change where that is set."""
        if any(
            each["tag_name"] == release["tag_name"] and not each.get("draft")
            for each in self.kept["releases"]
        ):
            raise github.GitHubError(422, "Validation Failed: already_exists")
        release.update(fields, immutable=self.immutable)
        return release

    def _asset(self, number_: int, name: str, data: bytes) -> Record:
        release = self._numbered("releases", str(number_))
        if release.get("immutable"):
            sentence = "Cannot upload assets to an immutable release."
            raise github.GitHubError(422, sentence)
        there = release["assets"]
        if name in [asset["name"] for asset in there]:
            raise github.GitHubError(422, f"already_exists: {name}")
        # Files come several at once, in any order: a number says nothing, as on GitHub.
        number = zlib.crc32(f"{name} {len(self.data)}".encode())
        self.data[number] = data
        asset = {"id": number, "name": name, "state": "uploaded"}
        there.append(asset)
        return asset


class World:
    """A clone of a bare origin, its storage folder, its GitHub."""

    def __init__(self, home: Path, hub: GitHub) -> None:
        self.home, self.hub = home, hub
        self.clone, self.objects = home / "clone", home / "objects"
        self.objects.mkdir()
        self.pulled = 0
        self.lock, self.manifest = b"", ""  # that CI built for the newest model
        plain = "--template="  # no samples of hooks, which each twin would copy
        git("init", "-q", plain, "--bare", "-b", "main", "origin", cwd=home)
        git("clone", "-q", plain, "origin", "clone", cwd=home)
        (self.clone / "contract.yaml").write_text(CONTRACT)
        self.through("production")

    def through(self, *environments: str) -> str:
        """Let main name the environments that a release goes through, in order."""
        deploy = {"environments": list(environments), "timeout_seconds": 1}
        (self.clone / "params.yaml").write_text(json.dumps({"deploy": deploy}))
        return self.commit(f"through {environments}")

    def twin(self, home: Path) -> "World":
        """Return a copy in another folder: a world that took long is made once."""
        shutil.copytree(self.home, home, dirs_exist_ok=True)
        other = copy.copy(self)
        other.home, other.hub = home, copy.deepcopy(self.hub)
        other.clone, other.objects = home / "clone", home / "objects"
        config = other.clone / ".git/config"
        config.write_text(config.read_text().replace(str(self.home), str(home)))
        return other

    def commit(self, message: str) -> str:
        """Commit everything on main and push it; return the commit."""
        git("checkout", "-q", "-B", "main", cwd=self.clone)
        git("add", "-A", cwd=self.clone)
        git("commit", "-q", "--allow-empty", "-m", message, cwd=self.clone)
        git("push", "-q", "-f", "origin", "main", cwd=self.clone)
        return git("rev-parse", "HEAD", cwd=self.clone)

    def model(self, text: str, **changes: Any) -> str:
        """Merge a model to main, its manifest changed; return the manifest's sha256."""
        model, contract = text.encode(), (self.clone / "contract.yaml").read_text()
        manifest = {
            "schema": 1,
            "name": "flights",
            "task": "binary",
            "model": {"file": "model.onnx", "sha256": sha(model), "bytes": len(model)},
            "contract": tiny.contract_hashes(contract),
            "code": {"sha256": sha(b"code")},
            "requirements": {"sha256": sha(b"requirements")},
            "data": {"sha256": sha(text.encode() + b"data"), "train_rows": 9},
            "params": {"estimator": text},
            "threshold": 0.5,
            "columns": ["distance"],
            "golden": GOLDEN,
            **changes,
        }
        data = (json.dumps(manifest, sort_keys=True, indent=2) + "\n").encode()
        lines = ["schema: '2.0'", "stages:", "  train:", "    outs:"]
        for name, content in (("model.onnx", model), ("manifest.json", data)):
            md5 = hashlib.md5(content).hexdigest()
            (self.objects / md5).write_bytes(content)
            lines += [f"    - path: build/{name}", f"      md5: {md5}"]
            lines += [f"      size: {len(content)}"]
        self.lock = "\n".join([*lines, ""]).encode()
        stages = {"train": {"cmd": f"train {sha(data)}"}}
        (self.clone / "dvc.yaml").write_text(json.dumps({"stages": stages}))
        self.commit(f"model {text}")
        self.manifest = sha(data)
        return self.manifest

    def verdict(self, manifest: str, passed: bool = True, **changes: Any) -> Record:
        """Let the judge write a verdict on what main names."""
        ledger = Ledger(self.clone)
        champion = ledger.champion()
        record = {
            "manifest_sha256": manifest,
            "recipe": recipe.at("main", self.clone),
            "lock_sha256": sha(self.lock),
            "passed": passed,
            "champion": champion["manifest_sha256"] if champion else None,
            "pull_request": 7,
            "head_sha": HEAD,
            "author": "ann",
            "run_id": 1,
            "summary": "ROC AUC is too low.",
            "metrics": [],
            "fairness": [],
            "checks": [
                {
                    "id": "roc_auc.min",
                    "title": "ROC AUC",
                    "passed": passed,
                    "reason": "ranks well enough",
                    "metric": "roc_auc",
                    "value": 0.7,
                    "operator": ">=",
                    "limit": 0.6,
                },
                {
                    "id": "roc_auc.margin",
                    "title": "ROC AUC: difference to the champion",
                    "passed": passed,
                    "reason": "better than the champion",
                    "metric": "roc_auc",
                    "statistic": "lower bound",
                    "value": 0.0041234567,
                    "operator": ">=",
                    "limit": -0.01,
                    "estimate": 0.01,
                    "interval": [0.0041234567, 0.016],
                },
            ],
            **changes,
        }
        html = f"<p>{manifest}".encode()

        def files(seq: int) -> dict[str, Record | bytes]:
            name = f"{manifest}/{seq:08d}-1"
            where = {"path": f"reports/{name}.html", "sha256": sha(html)}
            whole = {"report": where, **record, "seq": seq}
            path = lock_path(sha(self.lock))
            kept = {} if not passed or ledger.paths(path) else {path: self.lock}
            return {f"verdicts/{name}.json": whole, where["path"]: html, **kept}

        ledger.append(files, "verdict")
        return record

    def judged(self, text: str) -> str:
        """Merge a model that passed; return its manifest's sha256."""
        manifest = self.model(text)
        self.verdict(manifest)
        return manifest

    def pull(self, outs: Iterable[Out], into: Path, cwd: str = ".") -> list[Path]:
        """Stand in for mlgitops.storage.pull."""
        self.pulled += 1
        for out in outs:
            if not (self.objects / out.md5).is_file():
                raise storage.StorageError(f"{out.path} is not in storage: `make push`")
            shutil.copyfile(self.objects / out.md5, Path(into, out.name))
        return []

    def rule(self, script: str) -> Path:
        """Let origin refuse pushes as a script says; return the log of its calls."""
        log, hook = self.home / "pushes", self.home / "origin/hooks/pre-receive"
        log.write_text("")
        text = f"#!/bin/sh\necho push >> {shlex.quote(str(log))}\n{script}"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(text)
        hook.chmod(0o755)
        return log

    def tags(self) -> list[str]:
        """Return the tags that origin has."""
        return git("tag", cwd=self.home / "origin").split()

    def origin(self, *args: str) -> str:
        """Run git in origin."""
        return git(*args, cwd=self.home / "origin")


def sha(data: bytes) -> str:
    """Return a sha256."""
    return hashlib.sha256(data).hexdigest()


def registered() -> registry.Version:
    """Register the version on main."""
    version = register.register()
    assert isinstance(version, registry.Version), version
    return version


def roll_out(environment: str = "production") -> registry.Version:
    """Register the version on main and deploy it."""
    version = registered()
    deploy.deploy(environment, version.version)
    return version


class Target:
    """A server's answers: what it says it runs and predicts."""

    def __init__(self) -> None:
        self.manifest, self.shift, self.url = "", 0.0, ""
        self.server: str | None = None  # one that was not told does not say

    def answer(self, path: str, body: Record) -> Record:
        """Return an answer."""
        if path == "/info":
            said = {"manifest_sha256": self.manifest, "server_sha256": self.server}
            return {**said, "ready": True}
        rows = body["rows"]
        given = [{"probability": row["distance"] / 10 + self.shift} for row in rows]
        return {"manifest_sha256": self.manifest, "predictions": given}


@contextmanager
def target() -> Iterator[Target]:
    """Serve a target on loopback."""
    state = Target()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            data = json.dumps(state.answer(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@functools.cache
def beginning() -> tuple[World, tempfile.TemporaryDirectory[str]]:
    """Return a world with a main branch and no model, made once, and its folder."""
    folder = tempfile.TemporaryDirectory(prefix="world-")
    return World(Path(folder.name).resolve(), GitHub()), folder


@contextmanager
def world(
    home: Path, patch: pytest.MonkeyPatch, like: World | None = None
) -> Iterator[World]:
    """Give a world, a new one or a twin of another, and stand in its clone."""
    starts = ("GITHUB_", "GH_", "GIT_")
    for name in [name for name in os.environ if name.startswith(starts)]:
        if name != "GIT_CONFIG_SYSTEM":
            patch.delenv(name)
    for name in ("STAGING_URL", "PRODUCTION_URL", "VARIABLES"):
        patch.delenv(name, raising=False)
    patch.setenv("GITHUB_REPOSITORY", "o/r")
    patch.setenv("GITHUB_ACTOR", "eve")
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    made = (like or beginning()[0]).twin(home)
    patch.chdir(made.clone)
    patch.setattr(github, "api", made.hub.api)
    patch.setattr(commits, "PAUSES", (0.1,) * len(commits.PAUSES))  # not 15 seconds
    patch.setattr(storage, "pull", made.pull)
    yield made
