"""A fleet on one page: equal to its ledgers, and what is wrong with one is said."""

import copy
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta, tzinfo
from html import unescape
from pathlib import Path
from random import Random
from typing import Any

import pytest

from machinery.ledgers import NOW, Book, fifty, served, sha
from machinery.world import git
from mlgitops import inventory
from mlgitops.commands import fleet
from mlgitops.fleet import FleetError, page, site, sources, summary
from mlgitops.fleet.model import LEVELS, Model
from mlgitops.fleet.trend import trend
from mlgitops.ledger import Ledger
from mlgitops.report import plots

PAPER = Path(plots.__file__).with_name("page.css")  # of a report, and of `explain`
RELEASE = "environments/production/release.json"


class Clock(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Clock":
        """Return the same time always."""
        return cls.fromisoformat(NOW.isoformat())


HOSTILE = "<script>alert(1)</script>\"'&\u202e  x"  # and turns what follows it


def read(*books: Book) -> list[Model]:
    """Read the fleet of some books."""
    return fleet.read([str(book.folder) for book in books], NOW)


def raw(book: Book, path: str) -> dict[str, Any]:
    """Read a record by git alone."""
    commit = f"origin/ledger:{path}"
    return dict(json.loads(git("show", commit, cwd=book.folder)))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """Make one model that is well."""
    folder = tmp_path_factory.mktemp("good") / "flights"
    return served(folder, "flights", owner="Ada", risk="limited", licence="MIT")


@pytest.fixture
def twin(good: Book, tmp_path: Path) -> Iterator[Book]:
    """Give a copy of it that a test may spoil."""
    book = copy.copy(good)
    for name in ("origin.git", "clone"):
        shutil.copytree(good.origin.parent / name, tmp_path / name)
    book.origin, book.folder = tmp_path / "origin.git", tmp_path / "clone"
    book.ledger = Ledger(book.folder)
    yield book


def test_a_model_is_what_its_ledger_says(good: Book) -> None:
    (model,) = read(good)

    assert (model.name, model.owner, model.risk) == ("flights", "Ada", "limited")
    assert (model.level, model.reasons, model.task) == ("fine", [], "binary")
    assert (model.validated, model.measured, model.floor) == (0.7, 0.68, 0.6)
    assert [(s.environment, s.version) for s in model.serving] == [
        ("staging", "v1.0.0"),
        ("production", "v1.1.0"),
    ]
    newest = raw(good, "environments/production/release.json")
    assert model.production and model.production.since == newest["time"]
    assert model.machinery == "1.0.0, as released"
    assert model.next_run[:10] == "2026-07-10", "14 days after the last"


def test_the_thresholds_of_any_date_are_those_of_the_ledger(good: Book) -> None:
    """Read again without the fleet: by git, from the verdict of the release then."""
    (model,) = read(good)
    days = [(NOW - timedelta(days=n)).date().isoformat() for n in (38, 36, 25, 3)]
    for day in days:
        found = {
            (r.environment, r.record, r.check, r.value, r.limit)
            for r in model.thresholds
            if r.covers(day) and r.kind == "validation"
        }
        assert found == _again(good, day), day
    assert {r.check for r in model.thresholds if r.kind == "monitoring"} == {
        "calibration_error"
    }


def test_a_proposal_without_a_new_model_hides_no_number(twin: Book) -> None:
    """Its verdict has no metrics; the bytes are those that were measured."""
    unchanged = {"id": "no_change", "title": "", "passed": True, "reason": ""}
    twin.verdict("v1.1.0", checks=[unchanged], metrics=[], primary="")
    server = {"commit": "d" * 40, "sha256": "6" * 64}
    newer = twin.release("v1.1.0", server=server)
    (model,) = read(twin)
    assert (model.level, model.metric, model.validated) == ("fine", "ROC AUC", 0.7)
    assert [(m.validated, m.floor) for m in model.history] == [(0.7, 0.6)]
    rows = [row for row in model.thresholds if row.began == newer["time"]]
    assert [row.check for row in rows] == [
        "no_change",
        "roc_auc.min",
        "roc_auc.max",
        "model_size",
    ]


def _again(book: Book, day: str) -> set[tuple[Any, ...]]:
    """Return the checks that were in force on a day, from the raw records."""
    listed = git("ls-tree", "-r", "--name-only", "origin/ledger", cwd=book.folder)
    found = set()
    for environment in ("staging", "production"):
        history = [
            raw(book, path)
            for path in listed.splitlines()
            if path.startswith(f"environments/{environment}/history/")
        ]
        for number, release in enumerate(history):
            ended = history[number + 1]["time"] if number + 1 < len(history) else "9"
            if release["time"][:10] <= day <= ended[:10]:
                verdict = raw(book, release["verdict"])
                for check in verdict["checks"]:
                    numbers = (check["value"], check["limit"])
                    key = (environment, release["verdict"], check["id"])
                    found.add((*key, *numbers))
    return found


Spoil = Callable[[Book], Any]
SPOILT: dict[str, tuple[Spoil, str, str]] = {
    "torn": (
        lambda b: b.overwrite("monitoring/00000009.json", b'{"schema": 1, "se'),
        "failing",
        "monitoring/00000009.json is not JSON",
    ),
    "newer": (
        lambda b: b.add("monitoring/{seq}.json", {"schema": 2}),
        "failing",
        "is of schema 2",
    ),
    "other types": (
        lambda b: b.run("v1.1.0", window="all"),
        "failing",
        "lacks what such a record has",
    ),
    "too deep": (
        lambda b: b.overwrite("monitoring/1.json", b"[" * 200_000),
        "failing",
        "monitoring/1.json is not JSON",
    ),
    "rewritten": (
        lambda b: b.overwrite(
            (path := b.ledger.verdicts(sha("flights v1.1.0"))[0]["path"]),
            (json.dumps(raw(b, path)) + "\n").encode(),
        ),
        "failing",
        "was changed after it was written",
    ),
    "renumbered": (
        lambda b: b.overwrite(
            "proposals/00000099.json",
            json.dumps({"seq": 99, "time": "", "action": "opened", "pull": 4}).encode(),
        ),
        "failing",
        "names commit 99, but is in commit 6",
    ),
    "misnamed": (
        lambda b: b.overwrite(
            "proposals/00000006.json",
            json.dumps({"seq": 5, "time": "", "action": "opened", "pull": 4}).encode(),
        ),
        "failing",
        "says that it is record 5, and is not",
    ),
    "not followed": (
        lambda b: b.overwrite(
            "environments/production/release.json",
            json.dumps(raw(b, "environments/staging/release.json")).encode(),
        ),
        "failing",
        "is not the newest release of its history",
    ),
    "a check that did not pass": (
        lambda b: b.verdict("v1.2.0", 0.5, passed=True),
        "failing",
        "a check of it did not pass",
    ),
    "a value beyond its limit": (
        lambda b: b.verdict(
            "v1.2.0", 0.5, passed=True, checks=[_claimed("roc_auc.min", 0.5)]
        ),
        "failing",
        "says that roc_auc.min passed with 0.5 >= 0.6",
    ),
    "no verdict": (
        lambda b: b.release("v9.0.0"),
        "failing",
        "names a verdict that is missing",
    ),
    "refused, and deployed": (
        lambda b: (b.verdict("v1.2.0", 0.5), b.release("v1.2.0")),
        "failing",
        "let pass",
    ),
    "taken back": (
        lambda b: b.release("v1.0.0", action="revert", reason="golden rows"),
        "failing",
        "a deployment was taken back: revert to v1.0.0 on 2026-06-27: golden rows",
    ),
    "nothing left": (
        lambda b: b.release("v1.0.0", action="revert", state="failed", reason="no"),
        "failing",
        "production runs nothing since",
    ),
    "stopped": (
        lambda b: b.run("v1.1.0", decision="stop", sentence="Broken."),
        "failing",
        "monitor: Broken.",
    ),
    "drifted": (
        lambda b: b.run("v1.1.0", decision="retrain", sentence="Drift."),
        "attention",
        "monitor: Drift.",
    ),
    "the future": (
        lambda b: b.run("v1.1.0", time="2031-01-01T00:00:00+00:00"),
        "attention",
        "is dated in the future",
    ),
    "the past": (
        lambda b: b.run("v1.1.0", time="2026-06-20T00:00:00+00:00"),
        "attention",
        "before the record that it follows",
    ),
    "no time": (
        lambda b: b.run("v1.1.0", time="yesterday"),
        "attention",
        "has no time but 'yesterday'",
    ),
    "overruled": (
        lambda b: (
            b.verdict(
                "v1.2.0",
                0.5,
                passed=True,
                override={"by": "olga", "checks": ["roc_auc.min"], "reason": "x"},
            ),
            b.release("v1.2.0"),
            b.run("v1.2.0"),
        ),
        "attention",
        "v1.2.0 was let pass by olga against roc_auc.min",
    ),
    "modified": (
        lambda b: (
            b.release(
                "v1.1.0",
                machinery={"version": "1.0.0", "modified": ["a.py"]},
            ),
        ),
        "attention",
        "machinery 1.0.0, modified here (1 file)",
    ),
}


def _claimed(name: str, value: float) -> dict[str, Any]:
    """Return a check that claims to have passed."""
    check = {"id": name, "title": "", "passed": True, "reason": ""}
    return {**check, "value": value, "operator": ">=", "limit": 0.6}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_wrong_is_said(twin: Book, kind: str) -> None:
    """And the rest of that ledger is shown all the same."""
    spoil, level, sentence = SPOILT[kind]
    spoil(twin)
    (model,) = read(twin)
    said = [reason for reason in model.reasons if sentence in reason.text]
    assert said and said[0].level == model.level == level, model.reasons
    assert model.name == "flights" and model.task == "binary"
    assert model.production is not None


def test_a_silent_monitor_is_told_from_one_that_finds_nothing(good: Book) -> None:
    late = NOW + timedelta(days=30)
    (model,) = fleet.read([str(good.folder)], late)
    assert model.level == "failing"
    assert "missing heartbeat: the monitor last ran 34 days ago" in str(model.reasons)
    assert model.decision == "none"


def test_a_proposal_is_open_until_it_is_closed_or_deployed(twin: Book) -> None:
    for pull in (4, 5, 6):
        twin.propose(pull)
    twin.propose(5, "closed")
    twin.verdict("v1.2.0")
    twin.release("v1.2.0", pull_request=6)
    (model,) = read(twin)
    assert [proposal.pull for proposal in model.proposals] == [4]


def test_what_has_no_ledger_is_not_left_out(good: Book, tmp_path: Path) -> None:
    """An empty one, no repository, an address where nothing is; failing ones first."""
    git("init", "-q", str(tmp_path / "empty"), cwd=tmp_path)
    (tmp_path / "plain").mkdir()
    lost = f"file://ada:secret@{tmp_path}/lost.git"
    folders = [str(tmp_path / name) for name in ("empty", "plain")]
    addresses = [str(good.folder), *folders, lost, "--upload-pack=touch x", lost]
    found = fleet.read(addresses, NOW)
    assert [m.level for m in found] == ["failing"] * 3 + ["attention", "fine"]
    said = {model.name: str(model.reasons) for model in found}
    assert "has no ledger yet" in said["empty"]
    assert "is not the top folder of a git repository" in said["plain"]
    assert "cannot be read" in said["lost"]
    assert "secret" not in str(found), "a login is on no page"
    with pytest.raises(FleetError, match="name the fleet's repositories"):
        fleet.read([], NOW)


def test_the_same_ledger_twice_is_said(good: Book) -> None:
    found = fleet.read([str(good.folder), str(good.origin)], NOW)
    assert sum("has the same ledger as" in str(m.reasons) for m in found) == 1


def test_an_organisation_names_its_fleet_by_a_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Archived repositories run nothing; no repository at all is a mistake."""
    listed = [
        {"clone_url": f"https://github.com/acme/{name}.git", "topics": topics}
        | {"archived": name == "old"}
        for name, topics in (("b", ["ml"]), ("a", ["ml"]), ("old", ["ml"]), ("c", []))
    ]
    monkeypatch.setattr(sources.github, "pages", lambda path: listed)
    found = sources.of_organisation("acme", "ml")
    assert [url.rpartition("/")[2] for url in found] == ["a.git", "b.git"]
    with pytest.raises(FleetError, match="none of the 4 repositories"):
        sources.of_organisation("acme", "models")


def test_a_persons_fleet_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub knows no organisation of that name, and says 404; other errors stay."""

    def pages(path: str) -> list[dict[str, Any]]:
        if path != "/users/ada/repos":
            raise sources.github.GitHubError(404 if "ada" in path else 403, path)
        return [{"clone_url": "a.git", "topics": ["ml"], "archived": False}]

    monkeypatch.setattr(sources.github, "pages", pages)
    assert sources.of_organisation("ada", "ml") == ["a.git"]
    with pytest.raises(sources.github.GitHubError, match="/orgs/acme"):
        sources.of_organisation("acme", "ml")


def test_a_merge_hides_no_change(twin: Book) -> None:
    """Git lists no changes of a merge: one into the ledger is never ours."""
    tip, (path, *_) = twin.ledger.commit, twin.ledger.paths("verdicts/")
    assert not read(twin)[0].reasons
    twin.overwrite(path, b"{}")
    tree = git("rev-parse", f"{twin.ledger.commit}^{{tree}}", cwd=twin.folder)
    person = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    parents = ("-p", str(tip), "-p", f"{tip}^")
    merge = git(*person, "commit-tree", tree, *parents, "-m", "lie", cwd=twin.folder)
    spec = f"+{merge}:refs/heads/ledger"
    git("push", "-q", "origin", spec, cwd=twin.folder)
    twin.ledger.refresh()
    assert "is a merge, which can hide a change" in str(read(twin)[0].reasons)


def test_a_token_is_for_github_alone(
    good: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for whatever address somebody names."""
    monkeypatch.setenv("GH_TOKEN", "t0ken")
    commands = []
    monkeypatch.setattr(sources.git, "run", lambda *a, **_: commands.append(a) or "")
    sources.fetch("https://elsewhere.example/o/r.git", tmp_path / "scratch")
    (fetch,) = [" ".join(c) for c in commands if "fetch" in c]
    helpers = re.findall(r"(credential\S*)=", fetch)
    assert set(helpers) == {"credential.https://github.com.helper"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Model]]:
    """Write the site of two hostile models of one name."""
    tmp_path, books = tmp_path_factory.mktemp("hostile"), []
    for number in (1, 2):
        name = f"={HOSTILE}"
        book = served(tmp_path / f"m{number}", name, owner=HOSTILE, risk=HOSTILE)
        book.run("v1.1.0", decision=HOSTILE, sentence=HOSTILE)
        book.add(
            "proposals/{seq}.json", {"action": "opened", "pull": 4, "url": HOSTILE}
        )
        books.append(book)
    found = read(*books)
    site.write(found, tmp_path / "site", NOW, "2026-06-30")
    return tmp_path / "site", found


def test_a_page_is_inert_whatever_a_ledger_says(
    written: tuple[Path, list[Model]],
) -> None:
    folder, found = written
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) == 4, "each of two models with one name has its page"
    for path in pages:
        text = path.read_text()
        assert text.count("<script>") == 1 and "alert(1)</script>" not in text
        assert "script-src 'sha256-" in text and "src=" not in text
        assert "\u202e" not in text.split("<body>")[1]
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            assert (path.parent / unescape(target)).is_file(), target
    text = (folder / "index.html").read_text()
    chosen = set(re.findall("<option>([^<]*)</option>", text)) - {*LEVELS}
    assert chosen == set(re.findall(r'data-(?:owner|risk|task)="([^"]*)"', text))
    rows = list(csv.DictReader((folder / "compliance.csv").open(newline="")))
    assert rows and {row["model"][:2] for row in rows} == {"'="}, "no formula"
    assert len(rows) == sum(len(model.thresholds) for model in found)
    data = json.loads((folder / "fleet.json").read_text())
    assert data["models"][0]["reasons"] == [asdict(r) for r in found[0].reasons]


def test_paper_is_no_phone() -> None:
    """A sheet of A4 is as narrow as a small tablet: rows would become cards on it."""
    text = page.STYLES[0].read_text(encoding="utf-8")
    assert "@media screen and (max-width" in text and "@media(max-width" not in text
    assert "@media print" in text


def test_what_is_printed_is_whole(good: Book) -> None:
    """A model's thresholds stay below its name, and a row on its sheet."""
    text = page.compliance(read(good) * 2, NOW.date().isoformat())
    assert text.count("<section><h2>flights</h2>") == text.count("</section>") == 2
    for style in (page.STYLES[0], PAPER):
        _, _, print_rules = style.read_text(encoding="utf-8").partition("@media print")
        kept = re.findall(r"([\w,]+){break-inside:avoid}", print_rules)
        assert kept and "tr" in kept[0].split(","), style
        assert "details" not in kept[0], "one that is longer leaves its sheet empty"
        assert "counter(pages)" in print_rules


def test_only_a_fleet_is_written_over(
    written: tuple[Path, list[Model]], tmp_path: Path
) -> None:
    folder, found = written
    site.write(found[:1], folder, NOW, "2026-06")
    assert len(list((folder / "models").iterdir())) == 1, "the other has left"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FleetError, match="holds other files"):
        site.write(found, tmp_path / "mine", NOW, "2026-06")


@pytest.mark.parametrize("place", range(4))
def test_a_fleet_that_broke_off_is_not_used_and_is_written_again(
    place: int,
    written: tuple[Path, list[Model]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk, at any file; also over an older one, whose result is not taken."""
    _, found = written
    site.write([], tmp_path, NOW, "2026-06-30")
    assert site.failing(tmp_path) == []
    write, count = Path.write_bytes, iter(range(99))

    def full(path: Path, data: bytes) -> int:
        if next(count) == place:
            raise OSError(28, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            site.write(found, tmp_path, NOW, "2026-06-30")
    for use in (site.failing, site.publish):
        with pytest.raises(FleetError, match="no whole fleet"):
            use(tmp_path)
    site.write(found, tmp_path, NOW, "2026-06-30")
    assert site.failing(tmp_path) == [] and not [*tmp_path.rglob("*.part")]


def test_the_machinery_alone_is_enough(good: Book, tmp_path: Path) -> None:
    """As the workflow has it: a repository with the folder mlgitops/ and no model."""
    (tmp_path / "mlgitops").symlink_to(Path("mlgitops").resolve())
    env = {**os.environ, "PYTHONPATH": "", "GITHUB_ACTIONS": "true"}

    def typed(*words: str) -> tuple[int, str]:
        command = (sys.executable, "-m", "mlgitops", "fleet", *words)
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    code, text = typed("--check")
    assert code == 1 and "holds no whole fleet: name its repositories first" in text
    code, text = typed(str(good.folder), "::error::x/lost", "--date", "2026-06")
    assert code == 0 and "written: build/fleet/index.html" in text
    assert "- lost (::error::x/lost): the ledger cannot be read" in text
    assert "\n::" not in text
    code, text = typed("--check")
    assert code == 1 and "failing: flights, lost" in text, "flights: no heartbeat"


@pytest.mark.parametrize("date", ["March", "2026-3", "2026-13", "2026"])
def test_no_date_is_one_sentence(date: str) -> None:
    with pytest.raises(FleetError, match="is not a date"):
        fleet._date(date, NOW)


def test_other_pages_are_not_pushed_away(
    good: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the monitor's own history, on the same branch of a model's repository."""
    git("init", "-q", "--bare", "pages.git", cwd=tmp_path)
    git("init", "-q", "here", cwd=tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    git("remote", "add", "origin", "../pages.git")
    folder = tmp_path / "site"
    site.write(read(good), folder, NOW, "2026-06")
    assert "gh-pages" in site.publish(folder)
    site.publish(folder)
    names = git("ls-tree", "-r", "--name-only", "gh-pages", cwd=tmp_path / "pages.git")
    assert {"index.html", "fleet.json", ".nojekyll"} <= set(names.splitlines())
    git("commit", "-q", "--allow-empty", "-m", "history")
    git("push", "-q", "--force", "origin", "HEAD:gh-pages")
    with pytest.raises(FleetError, match="pages that are no fleet's"):
        site.publish(folder)


def test_main_states_owner_risk_and_licence(tmp_path: Path) -> None:
    """For verdicts and releases; a mistake in it stops neither."""
    (tmp_path / "contract.yaml").write_text("name: flights\n")
    params = tmp_path / "params.yaml"
    params.write_text("inventory: {owner: Ada, risk: high}\n")
    assert inventory.stated(tmp_path) == {
        "name": "flights",
        "owner": "Ada",
        "risk": "high",
        "licence": "",
    }
    params.write_text("train: {}\n")
    assert inventory.stated(tmp_path)["owner"] == ""
    params.write_text("inventory: {owners: Ada}\n")
    assert "owners" in inventory.stated(tmp_path)["problem"]


NAN, INF = float("nan"), float("inf")
VALUES = (None, -1, 0, 2**70, 1e308, NAN, INF, "", "x", [], {}, True, [{}], HOSTILE)
VALUES += ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "\ud800", "revert")


def _spoil(value: Any, rng: Random) -> Any:
    """Return a record with one of its values, at any depth, replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        return {**value, key: _spoil(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        return [_spoil(value[0], rng), *value[1:]]
    return rng.choice(VALUES)


def test_no_value_of_a_record_hides_the_rest(
    good: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in it, there is a page; times are no reason to end in."""
    sources_ = sources.fetch_all([str(good.folder)], tmp_path)
    each, rng = Ledger.each, Random(8)

    def spoilt(*args: Any) -> Iterable[tuple[str, bytes]]:
        files = dict(each(*args))
        for _ in range(rng.choice((1, 1, 3))):
            path = rng.choice(sorted(files))
            files[path] = json.dumps(_spoil(json.loads(files[path]), rng)).encode()
        return files.items()

    monkeypatch.setattr(Ledger, "each", spoilt)
    monkeypatch.setattr(summary.consistency, "rewritten", lambda _: ())
    for number in range(int(os.environ.get("PROOF", "0")) * 5000 or 50):
        found = summary.models(sources_, NOW)
        folder = tmp_path / str(number)
        site.write(found, folder, NOW, "2026-06-30")
        assert found[0].records > 0
        assert "alert(1)</script>" not in (folder / "index.html").read_text()
        json.loads((folder / "fleet.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("number", [INF, -INF, NAN, 1e308])
def test_a_number_that_no_axis_holds_is_a_gap(
    number: float, twin: Book, tmp_path: Path
) -> None:
    """One ledger with it would leave every model without a page."""
    twin.run("v1.1.0", measured={"performance": number, "drift": -number})
    twin.run("v1.1.0", measured={"performance": 0.6, "drift": number})
    site.write(read(twin), tmp_path / "site", NOW, "2026-06-30")
    (text,) = [path.read_text() for path in tmp_path.glob("site/models/*.html")]
    (drawn, _) = re.findall("<figure>.*?</figure>", text)
    assert not re.search(r"\b(nan|inf)\b", drawn)


def test_a_page_of_many_runs_is_bounded_and_says_what_it_leaves_out(
    twin: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are on it; fleet.json and compliance.csv have them all."""
    monkeypatch.setattr(page, "MOST", 2)
    for number in range(3):
        twin.run("v1.1.0", measured={"performance": 0.6, "drift": number})
    found = read(twin)
    site.write(found, tmp_path / "site", NOW, "2026-06-30")
    (text,) = [path.read_text() for path in tmp_path.glob("site/models/*.html")]
    runs, rows = (
        len(found[0].history),
        [r for r in found[0].thresholds if page._shown(r)],
    )
    assert text.count('data-title="drift"') == 2 < runs
    assert text.count("data-began=") == 2 < len(rows)
    assert (
        f'Older runs, in <a href="../fleet.json">fleet.json</a> alone: {runs - 2}.'
        in text
    )
    assert f"compliance.csv</a> alone: {len(rows) - 2}." in text
    (model,) = json.loads((tmp_path / "site" / "fleet.json").read_text())["models"]
    assert len(model["history"]) == runs


def test_the_trend_of_a_model_has_the_figures_of_its_ledger(twin: Book) -> None:
    """Recomputed from the raw records; a single run is no trend."""
    (before,) = read(twin)
    assert not trend(before), "one run"
    for value in (0.58, None, 0.66):
        twin.run("v1.1.0", measured={"performance": value, "drift": 0.4})
    (model,) = read(twin)
    listed = git("ls-tree", "--name-only", "origin/ledger:monitoring", cwd=twin.folder)
    runs = [raw(twin, f"monitoring/{name}") for name in listed.splitlines()]
    found = [run["measured"]["performance"] for run in runs]
    values = [value for value in found if value is not None]
    drawn = page.index([model], ["flights.html"], NOW.isoformat())
    (svg,) = re.findall('<svg class="small".*?</svg>', drawn)
    assert (
        f"3 runs, {runs[0]['time'][:10]} to {runs[-1]['time'][:10]}: first "
        f"{values[0]}, lowest {min(values)}, highest {max(values)}, newest "
        f"{values[-1]}; floor 0.6" in svg
    )
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', svg)]
    limit = float(re.findall(r'line limit" d="M[\d.]+ ([\d.]+)', svg)[0])
    assert [y > limit for y in heights] == [value < 0.6 for value in values]
    share = (heights[1] - heights[2]) / (heights[1] - heights[0])
    expected = (values[2] - values[1]) / (values[0] - values[1])
    assert share == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_fifty_models_are_what_their_ledgers_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the command writes them; every figure is found again by git and json alone."""
    books = fifty(tmp_path)
    monkeypatch.setattr(fleet, "datetime", Clock)
    out = tmp_path / "site"
    folders = [str(book.folder) for book in books]
    monkeypatch.setattr("sys.argv", ["fleet", *folders, "--out", str(out)])
    fleet.main()
    assert "5 failing, 8 attention, 37 fine" in capsys.readouterr().out
    found = json.loads((out / "fleet.json").read_text())["models"]
    assert len(found) == 50 == len(list((out / "models").iterdir()))
    assert [m["state"] for m in found] == ["failing"] * 5 + ["attention"] * 8 + [
        "fine"
    ] * 37
    text = (out / "index.html").read_text()
    assert text.count('<td data-title="state">') == 50
    by_name = {model["name"]: model for model in found}
    for book in books:
        model, release = by_name[book.name], raw(book, RELEASE)
        verdict = raw(book, release["verdict"])
        listed = git(
            "ls-tree", "--name-only", "origin/ledger:monitoring", cwd=book.folder
        )
        runs = [raw(book, f"monitoring/{name}") for name in listed.splitlines()]
        (metric,) = verdict["metrics"]
        assert model["validated"] == metric["challenger"]
        assert [m["measured"] for m in model["history"]] == [
            run["measured"]["performance"] for run in runs
        ]
        assert (model["decision"], model["last_run"]) == (
            runs[-1]["decision"],
            runs[-1]["time"],
        )
        production = model["serving"][-1]
        assert production["manifest_sha256"] == release["manifest_sha256"]
        assert (production["version"], production["since"]) == (
            release["version"],
            release["time"],
        )
        assert model["owner"] == release["inventory"]["owner"]
    rows = list(csv.DictReader((out / "compliance.csv").open(newline="")))
    for book in books:
        day = NOW.date().isoformat()
        in_force = {
            (row["environment"], row["record"], row["check"], float(row["value"]))
            for row in rows
            if row["model"] == book.name
            and row["kind"] == "validation"
            and row["began"][:10] <= day <= (row["until"] or "9")[:10]
        }
        assert in_force == {each[:4] for each in _again(book, day)}
