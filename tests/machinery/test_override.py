"""Who may overrule which refusal; what may never be overruled is not."""

from pathlib import Path
from typing import Any

import pytest

from mlgitops import github
from mlgitops.judge import override
from mlgitops.judge.verdict import Case
from mlgitops.judgement import Check
from mlgitops.ledger import Ledger
from mlgitops.settings import SettingsError

MODEL = "0123456789abcdef" * 4
RULES = {"checks": ["slices", "fairness", "roc_auc.margin"], "role": "maintain"}
PARAMS = {"override": RULES}


class Book(Ledger):
    """A ledger of nothing but the verdicts given."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self.records = list(records)

    def verdicts(self, manifest_sha256: str) -> list[dict[str, Any]]:
        """Return them."""
        return self.records


def case(*failed: str, earlier: dict[str, Any] | None = None) -> Case:
    """Return a case that failed these checks."""
    found: Any = Case(Path(), None, None, {}, Book(*filter(None, [earlier])))  # type: ignore[arg-type]
    found.manifest_sha256 = MODEL
    found.champion = {"manifest_sha256": "c"}
    found.checks = [
        Check(id=name, title=name.title(), passed=name not in failed, reason="")
        for name in ("identity", *failed)
    ]
    assert isinstance(found, Case)
    return found


def asked(by: str = "olga", reason: str = "known, and worth it") -> dict[str, Any]:
    """Return the event of somebody who asks for it."""
    inputs = {"reason": reason, "manifest": MODEL[:12]}
    return {"inputs": inputs, "sender": {"login": by}}


@pytest.fixture(autouse=True)
def people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let GitHub know three people."""
    roles = {"olga": "admin", "max": "maintain", "will": "write"}

    def api(path: str) -> Any:
        role = roles.get(path.split("/")[1], "none")
        old = {"maintain": "write"}.get(role, role)
        return {"permission": old, "role_name": role}

    monkeypatch.setattr(github, "api", api)
    monkeypatch.delenv("GITHUB_TRIGGERING_ACTOR", raising=False)


@pytest.mark.parametrize("by", ["olga", "max"])
def test_who_has_the_role_overrules_what_may_be(by: str) -> None:
    judged = case("slices", "fairness.origin.selection_rate")
    assert not judged.passed
    said = override.apply(judged, asked(by), 7, PARAMS, "binary")
    assert (
        judged.passed
        and f"{by} overruled Slices, Fairness.Origin.Selection_Rate" in said
    )
    assert judged.override == {
        "by": by,
        "reason": "known, and worth it",
        "checks": ["slices", "fairness.origin.selection_rate"],
    }


def test_started_again_by_somebody_else_it_overrules_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A re-run keeps the event, and so the sender, of the run before."""
    for starter, passes in (("will", False), ("max", False), ("olga", True)):
        monkeypatch.setenv("GITHUB_TRIGGERING_ACTOR", starter)
        judged = case("slices")
        said = override.apply(judged, asked("olga"), 7, PARAMS, "binary")
        assert judged.passed is passes
        assert ("started the run of olga again" in said) is not passes


@pytest.mark.parametrize("named", ["", "0123", "f" * 12, MODEL + "0"])
def test_another_model_than_the_one_that_was_read_is_not_overruled(named: str) -> None:
    judged, event = case("slices"), asked()
    event["inputs"]["manifest"] = named
    said = override.apply(judged, event, 7, PARAMS, "binary")
    assert not judged.passed and f"the one judged is {MODEL[:12]}" in said


def test_what_was_never_a_version_is_not_overruled() -> None:
    judged, event = case("slices"), asked()
    judged.manifest_sha256, event["inputs"]["manifest"] = None, "None0000"
    assert override.apply(judged, event, 7, PARAMS, "binary") and not judged.passed


@pytest.mark.parametrize("by", ["will", "eve", ""])
def test_who_has_it_not_does_not(by: str) -> None:
    judged = case("slices")
    said = override.apply(judged, asked(by), 7, PARAMS, "binary")
    assert not judged.passed and "refused" in said and "maintain" in said


@pytest.mark.parametrize(
    "name", ["identity", "holdout_unseen", "parity", "data", "latency"]
)
def test_what_is_not_named_stays_refused(name: str) -> None:
    judged = case("slices", name)
    said = override.apply(judged, asked(), 7, PARAMS, "binary")
    assert not judged.passed and f"{name} may not be overruled" in said


@pytest.mark.parametrize(
    "name",
    ["identity", "holdout_unseen", "roc_auc.max", "parity", "data", "predictions"],
)
def test_no_setting_opens_integrity_or_leakage(name: str) -> None:
    with pytest.raises(SettingsError, match="nobody may overrule"):
        override.parse({"override": {**RULES, "checks": ["slices", name]}}, "binary")


@pytest.mark.parametrize("section", [[], {"checks": []}, {**RULES, "role": "read"}])
def test_a_section_that_is_none_is_an_error(section: Any) -> None:
    with pytest.raises(SettingsError, match="override"):
        override.parse({"override": section}, "binary")


def test_without_a_section_or_a_reason_nothing_is_overruled() -> None:
    judged = case("slices")
    assert override.apply(judged, asked(), 7, {}, "binary")
    assert override.apply(judged, asked(reason=" "), 7, PARAMS, "binary") == ""
    assert override.apply(judged, {}, 7, PARAMS, "binary") == ""
    assert not judged.passed
    assert override.apply(case(), asked(), 7, PARAMS, "binary") == "", "nothing failed"


BEFORE = {
    "override": {"by": "olga", "reason": "yes", "checks": ["slices"]},
    "pull_request": 7,
    "champion": "c",
}


@pytest.mark.parametrize(
    ("failed", "number", "change", "passes"),
    [
        (("slices",), 7, {}, True),
        (("slices",), 8, {}, False),
        (("slices",), 7, {"champion": "d"}, False),
        (("slices", "fairness.x.equalized_odds"), 7, {}, False),
        (("data",), 7, {}, False),
    ],
)
def test_it_holds_for_the_same_model_proposal_and_champion(
    failed: tuple[str, ...], number: int, change: dict[str, Any], passes: bool
) -> None:
    judged = case(*failed, earlier={**BEFORE, **change})
    override.apply(judged, {}, number, PARAMS, "binary")
    assert judged.passed is passes


def test_the_report_offers_it_only_where_it_is_possible() -> None:
    assert override.possible(case("slices").checks, PARAMS, "binary")
    assert not override.possible(case("slices", "data").checks, PARAMS, "binary")
    assert not override.possible(case().checks, PARAMS, "binary")
    assert not override.possible(case("slices").checks, {}, "binary")
