"""A year later: what ran, from what, who approved it, and does it still agree?"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import audit, deploy, register, rollback
from ops.release import ReleaseError, facts
from tests.world import World, git, world

pytestmark = pytest.mark.machinery

DAYS = ("2026-03-01T10:00:00+00:00", "2026-03-02T10:00:00+00:00")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository where v1.0.0 was followed by v1.1.0 on the next day."""
    with world(tmp_path, monkeypatch) as made:
        (made.clone / "data").mkdir()
        for text, day in zip(("one", "two"), DAYS, strict=True):
            monkeypatch.setattr("ops.release.promote.now", lambda day=day: day)
            pointer = f"outs:\n- md5: {'ab' * 16}\n  size: 5\n  path: flights.parquet\n"
            (made.clone / "data" / "flights.parquet.dvc").write_text(pointer)
            user = {"login": f"reviewer-{text}"}
            made.hub.reviews = [{"user": user, "state": "APPROVED"}]
            made.judged(text)
            version = register.register()
            assert not isinstance(version, str)
            deploy.deploy("production", version.version)
        yield made


def record(time: str, manifest: str, **changes: object) -> dict[str, object]:
    """Return a record of the ledger."""
    base = {"environment": "production", "version": manifest, "action": "deploy"}
    rest = {"state": "published", "reason": None, "approvers": [], "run_url": ""}
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


def test_a_later_date_tells_what_serves_now(here: World) -> None:
    found = audit.audit(date="2030-01-01")
    assert [(p["version"], p["until"]) for p in found["periods"]] == [("v1.1.0", None)]


def test_the_day_of_a_change_names_both(here: World) -> None:
    periods = audit.audit(date="2026-03-02")["periods"]
    assert [p["version"] for p in periods] == ["v1.0.0", "v1.1.0"]
    periods = audit.audit(date="2026-03-02T09")["periods"]
    assert [p["version"] for p in periods] == ["v1.0.0"]


def test_a_day_without_service_is_said(here: World) -> None:
    with pytest.raises(ReleaseError, match="nothing was deployed on 2020-01-01"):
        audit.audit(date="2020-01-01")


def test_a_prediction_leads_to_its_version(here: World, tmp_path: Path) -> None:
    manifest = here.tags() and facts.registry.get("flights", "v1.0.0").manifest_sha256
    line = {"id": "f9", "manifest_sha256": manifest, "probability": 0.4}
    rest = {"decision": False, "logged_at": DAYS[0]}
    log = tmp_path / "log"
    log.mkdir()
    text = 'torn {"id": "f9"\n' + json.dumps({**line, **rest}) + "\n"
    (log / "predictions-2013-05-01.jsonl").write_text(text)
    found = audit.audit(prediction="f9", log=str(log))
    assert [v["version"] for v in found["versions"]] == ["v1.0.0"]
    assert "`f9` was answered with probability 0.4" in audit.report(found)
    with pytest.raises(ReleaseError, match="no prediction with the id f1"):
        audit.audit(prediction="f1", log=str(log))


def test_a_rollback_shows_as_one_more_period(here: World) -> None:
    rollback.rollback("production", "v1.0.0", "slow | late")
    found = audit.audit(version="v1.0.0")
    assert [p["action"] for p in found["periods"]] == ["deploy", "rollback"]
    assert "rollback: slow \\| late" in audit.report(found)
    assert "main does not name what production runs" in found["disagreements"][0]


def test_a_moved_tag_is_a_disagreement(here: World) -> None:
    head = git("rev-parse", "HEAD")
    message = f"x\n\nmanifest_sha256: {'b' * 64}\ncommit: {head}\n"
    git("tag", "-f", "-a", "-m", message, "flights@v1.0.0", "HEAD")
    git("push", "-q", "-f", "origin", "flights@v1.0.0")
    assert "was moved" in audit.audit()["disagreements"][0]


def test_a_confirmation_is_not_a_new_period() -> None:
    history = [
        record("2026-01-01", "a"),
        record("2026-01-02", "a", state="confirmed"),
        record("2026-01-03", "b"),
        record("2026-01-04", "a", action="revert"),
    ]
    found = facts.served(history, None)
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
    (period,) = facts.served(history, None)
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
