"""A year later: what ran, from what, who approved it, and does it still agree?"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from machinery.world import World, git, registered, roll_out, world
from mlgitops import inventory
from mlgitops.commands import audit, rollback
from mlgitops.ledger import Ledger
from mlgitops.machinery import machinery
from mlgitops.release import ReleaseError, facts, registry, thresholds

DAYS = ("2026-03-01T10:00:00+00:00", "2026-03-02T10:00:00+00:00")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make a repository where v1.0.0 was followed by v1.1.0 on the next day."""
    home = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        (made.clone / "data").mkdir()
        for text, day in zip(("one", "two"), DAYS, strict=True):
            patch.setattr("mlgitops.release.promote.now", lambda day=day: day)
            pointer = f"outs:\n- md5: {'ab' * 16}\n  size: 5\n  path: flights.parquet\n"
            (made.clone / "data" / "flights.parquet.dvc").write_text(pointer)
            user = {"login": f"reviewer-{text}"}
            made.hub.reviews = [{"user": user, "state": "APPROVED"}]
            made.judged(text)
            roll_out()
    yield made


@pytest.fixture
def here(
    first: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a copy of it."""
    with world(tmp_path / "twin", monkeypatch, first) as made:
        yield made


def record(time: str, manifest: str, **changes: object) -> dict[str, object]:
    """Return a record of the ledger."""
    base = {"environment": "production", "version": manifest, "action": "deploy"}
    rest = {"state": "published", "reason": None, "approvers": [], "run_url": ""}
    rest |= {"server": {"commit": "c", "sha256": "s"}}
    return {**base, **rest, "manifest_sha256": manifest, "time": time, **changes}


def test_a_date_tells_what_served_from_what(here: World) -> None:
    found = audit.audit(date="2026-03-01")
    assert [p["version"] for p in found["periods"]] == ["v1.0.0"]
    assert found["periods"][0]["until"] == DAYS[1]
    (version,) = found["versions"]
    assert version["author"] == "ann"
    assert version["approvers"] == ["reviewer-one"]
    assert version["made_from"]["params"] == {"estimator": "one"}
    assert version["data_files"][0]["md5"] == "ab" * 16
    assert version["verdicts"][0]["passed"]
    assert found["disagreements"] == []
    text = audit.report(found)
    for words in (version["manifest_sha256"], version["commit"], "reviewer-one", "0.7"):
        assert words in text
    show = re.search(r"was reviewed: `git (show) (\S+)`", text)
    assert show and git(*show.groups()) == f"<p>{version['manifest_sha256']}"


def test_which_thresholds_held_in_a_month_is_told_by_the_ledger_alone(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As numbers, of what served then; another month's verdicts are not in it."""
    monkeypatch.setattr(registry, "survey", None)  # no tag is looked at
    over = {"by": "olga", "reason": "known", "checks": ["roc_auc.min"]}
    rules = {"machinery": {"version": "9.0.0", "modified": []}, "override": over}
    manifest = here.model("three")
    here.verdict(manifest, passed=False, **rules)
    path = Ledger().paths(f"verdicts/{manifest}")[0]
    later = record("2026-05-01T10:00:00+00:00", manifest, verdict=path, seq=99)
    history = "environments/production/history/00000099.json"
    Ledger().append({history: later}, "deploy")

    rows = thresholds.held(Ledger(), "2026-03-01")
    assert {row.period.version for row in rows} == {"v1.0.0"} and len(rows) == 2
    assert {r.period.version for r in thresholds.held(Ledger(), "2026-03")} == {
        "v1.0.0",
        "v1.1.0",
    }
    check = rows[1].check
    assert (check.id, check.statistic) == ("roc_auc.margin", "lower bound")
    assert (check.value, check.operator, check.limit) == (0.0041234567, ">=", -0.01)
    assert check.interval == (0.0041234567, 0.016)
    june = thresholds.held(Ledger(), "2026-06")
    may = [row for row in june if row.period.version == manifest]
    assert [r.overruled_by for r in may] == ["olga", ""]
    assert may[0].machinery == "machinery 9.0.0, as released"

    text = audit.thresholds("2026-03")
    assert "v1.1.0" in text and "overruled" not in text
    with Path("build/thresholds.csv").open(newline="") as stream:
        kept = list(csv.DictReader(stream))
    assert [(row["check"], row["limit"]) for row in kept[:2]] == [
        ("roc_auc.min", "0.6"),
        ("roc_auc.margin", "-0.01"),
    ]
    assert float(kept[1]["value"]) == 0.0041234567, "every digit"
    assert (kept[1]["low"], kept[1]["high"]) == ("0.0041234567", "0.016")
    assert (kept[1]["version"], kept[1]["until"]) == ("v1.0.0", DAYS[1])


@pytest.mark.parametrize("date", ["March", "2026-3", "2026-13", "2026"])
def test_thresholds_of_no_date_are_one_sentence(here: World, date: str) -> None:
    with pytest.raises(ReleaseError, match="is not a date"):
        audit.thresholds(date)


def test_thresholds_that_the_ledger_lacks_are_said(here: World) -> None:
    with pytest.raises(ReleaseError, match="nothing was deployed in 2025-12"):
        audit.thresholds("2025-12")
    stray = record("2026-07-01T10:00:00+00:00", "e" * 64, verdict="verdicts/x.json")
    path = "environments/production/history/00000098.json"
    Ledger().append({path: {**stray, "seq": 98}}, "deploy")
    with pytest.raises(ReleaseError, match="lacks the verdict"):
        audit.thresholds("2026-08")


def test_which_machinery_judged_and_deployed_is_told(here: World) -> None:
    """As the ledger holds it; the machinery of today says nothing of a year ago."""
    record = Ledger().release("production") or {}
    assert record["machinery"] == machinery().record()
    assert record["inventory"] == inventory.stated()
    other = {"version": "0.9.0", "modified": ["judge/gates.py"]}
    here.verdict(here.model("three"), machinery=other)
    version = roll_out()
    text = audit.report(audit.audit(version=version.version))
    assert "Judged by machinery 0.9.0, modified here (1 file)." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| production")]
    assert row.endswith(f"| {machinery().state} |")


def test_a_record_from_before_machinery_was_named_says_so(here: World) -> None:
    (old,) = facts.served([record("2026-03-01T10:00:00+00:00", "a")])
    found = audit.audit() | {"periods": [asdict(old)], "versions": []}
    assert "| published | not recorded |" in audit.report(found)


def test_who_overruled_what_and_why_is_told(here: World) -> None:
    over = {"by": "olga", "reason": "the shop closes", "checks": ["Slices", "Latency"]}
    here.verdict(here.model("three"), override=over)
    version = registered()
    text = audit.report(audit.audit(version=version.version))
    assert "**Overruled** by olga: Slices, Latency: the shop closes" in text
    assert "Overruled" not in audit.report(audit.audit(version="v1.0.0"))


def test_later_verdicts_on_a_version_change_nothing_of_who_proposed_it(
    here: World,
) -> None:
    """As after a rollback: the pull request that goes back names the same model."""
    rollback.rollback("production", "v1.0.0", "slow")
    manifest = registry.get("flights", "v1.0.0").manifest_sha256
    here.verdict(manifest, pull_request=6, author="mlgitops-bot[bot]")
    here.hub.reviews = [{"user": {"login": "somebody-else"}, "state": "APPROVED"}]
    (version,) = audit.audit(version="v1.0.0")["versions"]
    assert (version["author"], version["pull_request"]) == ("ann", 7)
    assert version["approvers"] == ["reviewer-one"]
    text = audit.report(audit.audit(version="v1.0.0"))
    assert "proposed by ann in pull request #7, approved by reviewer-one" in text
    assert "on #6 by mlgitops-bot[bot], passed" in text, "each verdict names its own"


def test_who_proposed_what_was_not_deployed_yet_is_told_too(here: World) -> None:
    manifest = here.model("three")
    here.verdict(manifest, passed=False, pull_request=8, author="bob")
    here.verdict(manifest, pull_request=9, author="eve")
    version = registered()
    here.verdict(manifest, pull_request=10, author="dan")
    (found,) = audit.audit(version=version.version)["versions"]
    assert (found["author"], found["pull_request"]) == ("eve", 9)
    assert found["approvers"] == []


def test_a_later_date_tells_what_serves_now(here: World) -> None:
    found = audit.audit(date="2030-01-01")
    assert [(p["version"], p["until"]) for p in found["periods"]] == [("v1.1.0", None)]


def test_the_day_of_a_change_names_both(here: World) -> None:
    periods = audit.audit(date="2026-03-02")["periods"]
    assert [p["version"] for p in periods] == ["v1.0.0", "v1.1.0"]
    periods = audit.audit(date="2026-03-02T09")["periods"]
    assert [p["version"] for p in periods] == ["v1.0.0"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"date": "2020-01-01"}, "nothing was deployed on 2020-01-01: the first"),
        ({"date": "1.3.2026"}, "is not a date: type DATE=2026-11-22"),
        ({"version": "v9.0.0"}, "no version v9.0.0; .*: v1.0.0, v1.1.0"),
        ({"prediction_id": "f1", "log": "nowhere"}, "name it with LOG="),
    ],
)
def test_what_cannot_be_answered_is_said(
    here: World, asked: dict[str, str], words: str
) -> None:
    with pytest.raises(ReleaseError, match=words):
        audit.audit(**asked)


def test_before_any_deployment_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch):
        with pytest.raises(ReleaseError, match="on 2026-01-01 or any day"):
            audit.audit(date="2026-01-01")
        found = audit.audit()
    assert found["periods"] == found["versions"] == found["disagreements"] == []


def logged(
    folder: Path,
    without: tuple[str, ...] = (),
    escaped: bool = True,
    **changes: object,
) -> str:
    """Write a prediction log with a torn line and an answer; return its folder."""
    manifest = registry.get("flights", "v1.0.0").manifest_sha256
    line = {"id": "f9", "time": None, "manifest_sha256": manifest, "probability": 0.4}
    rest = {"row": {}, "decision": False, "logged_at": "2026-03-01T12:00:00+00:00"}
    folder.mkdir()
    entry = {**line, **rest, **changes}
    entry = {name: value for name, value in entry.items() if name not in without}
    text = 'torn {"id": "f9"\n' + json.dumps(entry, ensure_ascii=escaped) + "\n"
    (folder / "predictions-2013-05-01.jsonl").write_text(text, encoding="utf-8")
    return str(folder)


def test_a_prediction_leads_to_its_version(here: World, tmp_path: Path) -> None:
    log = logged(tmp_path / "log")
    found = audit.audit(prediction_id="f9", log=log)
    assert [v["version"] for v in found["versions"]] == ["v1.0.0"]
    assert found["answers"][0]["served"] == [f"production since {DAYS[0]}"]
    assert found["disagreements"] == []
    assert "`f9`: 0.4 (decision: False)" in audit.report(found)
    with pytest.raises(ReleaseError, match="no prediction with the id f1"):
        audit.audit(prediction_id="f1", log=log)


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        ({"value": 12.5}, "`f9`: 12.5, by manifest"),
        (
            {"probabilities": {"on time": 0.7, "late": 0.3}, "class": "on time"},
            "`f9`: on time (probabilities: 0.7, 0.3), by manifest",
        ),
    ],
    ids=["regression", "multiclass"],
)
def test_a_prediction_of_every_task_is_told(
    here: World, tmp_path: Path, prediction: dict[str, object], words: str
) -> None:
    log = logged(tmp_path / "log", without=("probability", "decision"), **prediction)
    found = audit.audit(prediction_id="f9", log=log)
    assert [v["version"] for v in found["versions"]] == ["v1.0.0"]
    assert words in audit.report(found)


def test_a_version_without_a_threshold_lists_none(here: World) -> None:
    found = audit.audit(version="v1.0.0")
    assert "- threshold: `0.5`" in audit.report(found)
    found["versions"][0]["made_from"]["threshold"] = None
    assert "threshold" not in audit.report(found)


@pytest.mark.parametrize("prediction_id", ["Zürich-7", 'a "b"', "f\\9", "名"])
@pytest.mark.parametrize("escaped", [True, False])
def test_an_id_is_found_however_the_log_spells_it(
    here: World, tmp_path: Path, prediction_id: str, escaped: bool
) -> None:
    """The server writes UTF-8; a log that went through other hands may be escaped."""
    log = logged(tmp_path / "log", escaped=escaped, id=prediction_id)
    (answer,) = audit.audit(prediction_id=prediction_id, log=log)["answers"]
    assert answer["id"] == prediction_id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logged_at": "2026-03-05T12:00:00+00:00"}, "served nowhere"),
        ({"manifest_sha256": "e" * 64}, "not a version"),
    ],
)
def test_an_answer_that_no_deployment_explains_is_named(
    here: World, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    found = audit.audit(prediction_id="f9", log=logged(tmp_path / "log", **change))
    assert words in found["disagreements"][0]


def test_an_answer_within_the_grace_of_clocks_is_no_disagreement(
    here: World, tmp_path: Path
) -> None:
    late = {"logged_at": "2026-03-02T10:59:00+00:00"}
    found = audit.audit(prediction_id="f9", log=logged(tmp_path / "log", **late))
    assert found["disagreements"] == []


def test_a_rollback_shows_as_one_more_period(here: World) -> None:
    rollback.rollback("production", "v1.0.0", "slow | late")
    found = audit.audit(version="v1.0.0")
    assert [p["action"] for p in found["periods"]] == ["deploy", "rollback"]
    assert "rollback: slow \\| late" in audit.report(found)
    assert "main does not name what production runs" in found["disagreements"][0]


def test_without_github_the_audit_says_what_it_does_not_know(here: World) -> None:
    """What was merged is asked of GitHub where no version was released by it yet."""
    sha256 = str((Ledger().champion() or {})["manifest_sha256"])
    here.hub.refused["GET", "pulls/7"] = 401
    assert audit.audit()["disagreements"] == []
    (here.clone / "dvc.yaml").write_text('{"stages": {"train": {"cmd": "measure"}}}')
    here.commit("the same model by another recipe")
    here.verdict(sha256)
    (sentence,) = audit.audit()["disagreements"]
    assert sentence.startswith("whether main names what production runs is not known")
    here.hub.refused.clear()
    assert audit.audit()["disagreements"] == [], "the control"


def moved(here: World, message: str) -> None:
    """Put the tag of v1.0.0 on today's commit."""
    git("tag", "-f", "-a", "-m", message, "flights@v1.0.0", "HEAD")
    git("push", "-q", "-f", "origin", "flights@v1.0.0")


def test_a_moved_tag_hides_nothing(here: World) -> None:
    """What the ledger deployed is explained, and the tag is named."""
    old = registry.get("flights", "v1.0.0")
    moved(here, here.origin("tag", "-l", "--format=%(contents)", "flights@v1.0.0"))
    found = audit.audit(version="v1.0.0")
    assert found["versions"][0]["commit"] == old.commit
    (sentence,) = found["disagreements"]
    assert "flights@v1.0.0 was moved" in sentence and old.commit in sentence


def test_a_moved_tag_that_lies_is_a_disagreement(here: World) -> None:
    head = git("rev-parse", "HEAD")
    moved(here, f"x\n\nmanifest_sha256: {'b' * 64}\ncommit: {head}\n")
    found = audit.audit(version="v1.0.0")
    assert "was moved" in found["disagreements"][0]
    assert found["versions"][0]["manifest_sha256"] != "b" * 64


def test_a_deleted_tag_is_a_disagreement(here: World) -> None:
    here.origin("tag", "-d", "flights@v1.0.0")
    found = audit.audit(date="2026-03-01")
    assert found["versions"][0]["version"] == "v1.0.0"
    assert "flights@v1.0.0 was deleted" in found["disagreements"][0]


def tamper(here: World, change: Callable[[Path], None], onto: str = "") -> None:
    """Change the ledger behind its back; ``onto`` forgets its newest commits."""
    place = here.home / "tampered"
    git("clone", "-q", "-b", "ledger", "origin", "tampered", cwd=here.home)
    if onto:
        git("reset", "-q", "--soft", onto, cwd=place)
    change(place)
    git("add", "-A", cwd=place)
    git("commit", "-q", "-m", "tampered", cwd=place)
    git("push", "-q", "-f", "origin", "ledger", cwd=place)


def newest(place: Path, pattern: str) -> Path:
    """Return the newest record under a pattern."""
    return sorted(place.glob(pattern))[-1]


def rewrite(place: Path) -> None:
    """Say that somebody else approved."""
    path = newest(place, "environments/production/history/*.json")
    path.write_text(path.read_text().replace("reviewer-two", "nobody-else"))


def remove(place: Path) -> None:
    """Forget a verdict."""
    newest(place, "verdicts/*/*.json").unlink()


def turn(place: Path) -> None:
    """Let the targets follow something that was never recorded."""
    path = place / "environments/production/release.json"
    path.write_text(path.read_text().replace("v1.1.0", "v1.0.0"))


@pytest.mark.parametrize(
    ("change", "onto", "words"),
    [
        (rewrite, "", "was changed after it was written"),
        (remove, "", "was removed after it was written"),
        (turn, "", "release.json is not the newest record"),
        (lambda _: None, "HEAD~2", "the branch was rewritten"),
    ],
    ids=["rewrite", "remove", "turn", "squash"],
)
def test_a_tampered_ledger_is_named(
    here: World, change: Callable[[Path], None], onto: str, words: str
) -> None:
    assert audit.audit()["disagreements"] == []
    tamper(here, change, onto)
    assert any(words in line for line in audit.audit()["disagreements"])


def test_a_deployment_whose_verdict_refuses_it_is_named(here: World) -> None:
    def forge(place: Path) -> None:
        for path in place.glob("verdicts/*/*.json"):
            path.write_text(path.read_text().replace('"passed": true', '"passed": 0'))

    tamper(here, forge)
    assert any("refuses it" in line for line in audit.audit()["disagreements"])


def test_a_confirmation_is_not_a_new_period() -> None:
    history = [
        record("2026-01-01", "a"),
        record("2026-01-02", "a", state="confirmed"),
        record("2026-01-03", "b"),
        record("2026-01-04", "a", action="revert"),
    ]
    found = facts.served(history)
    assert found[0].ended_by == "deploy to b" and found[1].ended_by == "revert to a"
    assert [(p.version, p.began, p.until, p.state) for p in found] == [
        ("a", "2026-01-01", "2026-01-03", "confirmed"),
        ("b", "2026-01-03", "2026-01-04", "published"),
        ("a", "2026-01-04", None, "published"),
    ]


def test_a_failed_first_version_ends() -> None:
    history = [
        record("2026-01-01", "a"),
        record("2026-01-02", "a", action="revert", state="failed"),
    ]
    (period,) = facts.served(history)
    assert period.ended_by == "revert to nothing"
    assert (period.began, period.until) == ("2026-01-01", "2026-01-02")


def test_make_passes_its_variables_on(
    here: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VERSION", "v1.1.0")
    monkeypatch.setattr("sys.argv", ["audit"])
    audit.main()
    assert "## flights@v1.1.0" in capsys.readouterr().out
    assert Path("build/audit.md").is_file()
    assert json.loads(Path("build/audit.json").read_text())["asked"]["date"] is None


def test_of_many_versions_the_newest_are_explained_and_the_others_counted(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are in build/audit.json as periods; one that is named is explained."""
    monkeypatch.setattr(audit, "EXPLAINED", 1)
    monkeypatch.setattr(audit, "LISTED", 1)
    document = audit.audit()
    assert [v["version"] for v in document["versions"]] == ["v1.1.0"]
    text = audit.report(document)
    assert "Older versions, not explained here: 1." in text
    older = len(document["periods"]) - 1
    assert older and f"in build/audit.json alone: {older}." in text
    named = audit.audit(version="v1.0.0")
    assert [v["version"] for v in named["versions"]] == ["v1.0.0"]
    assert named["left_out"] == 0
