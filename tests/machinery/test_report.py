"""The report: verdict first, few words, and nothing that a stranger wrote is markup."""

import html
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgitops import report
from mlgitops.judgement import (
    Best,
    Bin,
    Business,
    ByModel,
    Check,
    Confusion,
    Curves,
    Dependence,
    Flip,
    Footprint,
    Importance,
    Judgement,
    McNemar,
    MetricResult,
    Power,
    Prediction,
    Reason,
    Rows,
    Slice,
    Slices,
)
from mlgitops.report.sections import SECTIONS, record

HOSTILE = [
    "@octocat",
    "a|b",
    "`code`",
    "<script>alert(1)</script>",
    "[x](https://evil.example)",
    "![x](https://evil.example/p.png)",
    "https://evil.example",
    "www.evil.example",
    "#1",
    "owner/repo#1",
    "**bold** _it_ ~~no~~",
    "line\nbreak\r\n| a | b |",
    "```mermaid\ngraph TD; A-->B\n```",
    "--> -->",
    "</details>",
    "<!-- validation report -->",
    "\\`",
    "&lt;b&gt;",
    ":smile:",
    "=",
    "+ a list",
    "1. a list",
    "\u202eevil\u200b",
    "x" * 100_000,
]
CHECK = Check(
    id="roc_auc.min",
    title="ROC AUC",
    passed=True,
    reason="good enough",
    metric="roc_auc",
    value=0.7,
    operator=">=",
    limit=0.6,
    gate=True,
)
PRIMARY = MetricResult(
    id="roc_auc",
    label="ROC AUC",
    better="higher",
    champion=0.63,
    challenger=0.7,
    difference=0.07,
    low=0.06,
    high=0.08,
)
BRIER = MetricResult(
    id="brier", label="Brier", better="lower", champion=0.2, challenger=0.1
)
BINS = [Bin(n / 10, (n + 1) / 10, 9, 0.1, 0.2) for n in range(5)]
HERE = {f.name for f in msgspec.structs.fields(Judgement)} - {"checks", "cautions"}


def facts(**changes: Any) -> report.Facts:
    """Return the facts of a challenger that passed; changes are of them or found."""
    found = {
        "primary": "roc_auc",
        "confidence": 0.95,
        "metrics": [PRIMARY, BRIER],
        "curves": ByModel(
            champion=Curves(calibration=BINS[:4]), challenger=Curves(calibration=BINS)
        ),
        "power": Power(0.012, 0.8),
        "rows": Rows(
            data=50, held_out=12, since="a", until="b", compared=12, target="1 in 5"
        ),
        **{name: value for name, value in changes.items() if name in HERE},
    }
    about: dict[str, Any] = {
        "state": "ready",
        "verdict": "Every check passed.",
        "next": "review and merge.",
        "checks": [CHECK],
        "params": [report.Setting("columns", "a", "b")],
        "build": report.Build(stages_run=["train"], restored=False, seconds=1.5),
        "manifest_sha256": "a" * 64,
        "data_sha256": "b" * 64,
        "head_sha": "c" * 40,
        "rules_sha": "d" * 40,
        "pull_request": 7,
        "run_url": "https://github.com/o/r/actions/runs/1",
        **{name: value for name, value in changes.items() if name not in HERE},
    }
    return report.Facts(judgement=Judgement(**found), **about)


def check(**changes: Any) -> Check:
    """Return the check with changes."""
    return msgspec.structs.replace(CHECK, **changes)


def test_the_verdict_comes_first_and_the_manifest_stands_in_full() -> None:
    body = report.render(facts())
    assert body.startswith("## ✅ Ready to merge\n\nEvery check passed.\n\n**Next:**")
    assert "ROC AUC 0.6300 → **0.7000** · +0.0700 (95% interval +0.0600" in body
    line = next(line for line in body.splitlines() if line.startswith("ROC AUC 0.63"))
    assert line.endswith(f"· manifest {'a' * 12} · data {'b' * 12}")
    assert re.findall(r"manifest: `([0-9a-f]{64})`", body) == ["a" * 64]
    order = ["## ", "ROC AUC 0.63", "| Check |", "<details", "---\n\n<sub>"]
    assert sorted(order, key=body.index) == order


def test_what_the_monitor_expected_stands_below_the_headline() -> None:
    words = "The monitor expected more: **confirmed**."
    body = report.render(facts(expectation=words))
    assert f"\n\n{words}\n\n| " in body
    assert "monitor" not in report.render(facts(expectation=""))


@pytest.mark.parametrize("state", ["ready", "here", "blocked"])
def test_words_stand_beside_every_icon(state: str) -> None:
    checks = [CHECK, check(passed=state != "blocked")]
    for line in report.render(facts(state=state, checks=checks)).splitlines():
        for icon in "✅⛔🟡":
            assert f"{icon} |" not in line and not line.endswith(icon)


def test_the_table_has_at_most_eight_rows_and_failures_come_first() -> None:
    checks = [check(title=f"check {n}", passed=n != 15) for n in range(20)]
    head = report.render(facts(checks=checks)).split("<details")[0]
    rows = [line for line in head.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 8 and "check 15" in rows[0] and "13 of 13" in rows[-1]


def test_more_failures_than_rows_are_not_called_passed() -> None:
    checks = [check(title=f"check {n}", passed=False) for n in range(12)]
    head = report.render(facts(checks=checks)).split("<details")[0]
    assert "| ⛔&nbsp;failed | Other checks | 0 of 5 |" in head


def test_an_alert_appears_only_when_there_is_a_caution() -> None:
    assert "[!CAUTION]" not in report.render(facts())
    body = report.render(facts(cautions=["first", "second"]))
    assert "> [!CAUTION]\n> first\n>\n> second\n" in body


def test_more_cautions_than_the_alert_holds_are_folded_below_it_not_lost() -> None:
    said = [f"caution {n}" for n in range(8)]
    head, first, *_ = report.render(facts(cautions=said)).split("<details")
    assert [n for n in said if n in head] == said[:5]
    assert "<summary>More cautions</summary>" in first
    assert [n for n in said if n in first] == said[5:]
    assert "More cautions" not in report.render(facts(cautions=said[:5]))


def test_how_to_overrule_is_told_only_where_it_is_possible() -> None:
    """With the model that was read, so that no other one passes by it."""
    body = report.render(facts(state="blocked", override=True))
    told = "gh workflow run validate.yml -f pull_request=7 -f manifest=aaaaaaaaaaaa"
    assert f'{told} -f reason="..."' in body
    assert "<summary>Overrule this</summary>" in body
    body = report.render(facts(state="blocked", override=False))
    assert "validate.yml" not in body and "<summary>Reproduce this</summary>" in body


def test_without_a_champion_it_says_so() -> None:
    alone = MetricResult(id="roc_auc", label="ROC AUC", better="higher", challenger=0.7)
    assert "(no champion yet)" in report.render(facts(metrics=[alone]))


COUNTS = Confusion(0.3, 1234, 5, 6, 7)
WORTH = Business(
    unit="minutes",
    per=1000,
    champion=100.0,
    challenger=1250.0,
    difference=1150.0,
    low=1000.0,
    high=1300.0,
    best=Best(best=1300.0, threshold=0.3, best_threshold=0.333),
)
SLICE = Slice(
    column="carrier",
    value="AA",
    rows=300,
    champion=0.1,
    challenger=0.2,
    difference=0.1,
    low=0.05,
    high=0.15,
    failed=True,
)


def evidence(**changes: Any) -> report.Facts:
    """Return the facts with everything that the judge may find."""
    first: list[tuple[float, float]] = [(0, 0), (1, 1)]
    second: list[tuple[float, float]] = [(0, 0), (0.2, 0.8), (1, 1)]
    found = {
        "curves": ByModel(
            champion=Curves(calibration=BINS[:4], roc=first, confusion=COUNTS),
            challenger=Curves(calibration=BINS, roc=second, confusion=COUNTS),
        ),
        "mcnemar": McNemar(3, 50, 1e-9),
        "business": WORTH,
        "slices": Slices("Brier score", 40, [SLICE]),
    }
    return facts(**{**found, **changes})


def test_decisions_their_worth_and_the_worst_slices_are_shown() -> None:
    body = report.render(evidence())
    head = body.split("<details")[0]
    assert (
        "worth 100 → **1,250** minutes per 1,000 decisions, "
        "+1,150 (+1,000 to +1,300)" in head
    )
    assert "| champion | 0.3 | 1,234 | 5 | 6 | 7 |" in body
    assert "McNemar's exact test, p = 1e-09" in body
    assert "0.333 would be worth most" in body
    assert "⛔ significantly worse, +0.0500 to +0.1500" in body
    assert "would have shown on these rows 80% of the time" in body


def test_the_roc_curve_is_drawn_between_its_points() -> None:
    body = report.render(evidence())
    curve = next(line for line in body.splitlines() if "line [0.000, 0.400" in line)
    assert curve.strip().startswith("line [0.000, 0.400, 0.800, 0.825")
    assert "| 0.2 | 0.200 | 0.800 |" in body


def test_without_a_champion_nothing_is_compared() -> None:
    alone = Business(unit="minutes", per=1000, challenger=1250.0, best=WORTH.best)
    row = Slice(column="carrier", value="AA", rows=300, challenger=0.2)
    curves = ByModel(challenger=Curves(roc=[(0, 0), (1, 1)], confusion=COUNTS))
    body = report.render(
        facts(business=alone, curves=curves, slices=Slices("Brier score", 1, [row]))
    )
    assert "worth 1,250 minutes per 1,000 decisions" in body
    assert "| carrier: AA | 300 | 0.2000 |" in body


def test_what_a_model_looks_at_is_shown() -> None:
    words = "a|b"
    flip = Flip(
        champion=Prediction(0.1),
        challenger=Prediction(0.9),
        truth=1,
        reasons=[Reason(words, words, -0.5)],
    )
    body = report.render(
        facts(
            importance=[Importance(column=words, challenger=(0.1, 0, 0.2))],
            dependence=[
                Dependence(column=words, places=[words, "1"], challenger=[0.1, 1])
            ],
            flips=[flip],
            footprint=ByModel(challenger=Footprint(0.1, 0.2, 1)),
        )
    )
    inert = report.code(words)
    assert f"| {inert} | 0.1000 (0.0000 to 0.2000) |" in body
    assert f"| {inert} | challenger |" in body and f"| {inert} | 0.100 |" in body
    assert f"| 0.100 | 0.900 | 1 | {report.code(f'{words} = {words}')} -0.500 |" in body
    assert "| challenger | 0.100 | 0.200 | 1.000 |" in body


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_names_of_data_are_inert(words: str) -> None:
    body, calm = (
        report.render(facts(slices=Slices("Brier score", 1, [each])))
        for each in (hostile(words), SLICE)
    )
    for mark in ("```", "<details>", "</details>", "<!--", "<script", "\n|", "\n#"):
        assert body.count(mark) == calm.count(mark), mark
    assert "@octocat" not in body and "https://evil" not in body


def test_only_bins_that_both_have_are_drawn_and_all_are_listed() -> None:
    body = report.render(facts())
    assert body.count("  line [") == 3
    assert all(line.count(",") == 3 for line in re.findall(r"line \[.*\]", body))
    assert "| 0.4 to 0.5 | 0 | none | none | 9 | 0.100 | 0.200 |" in body


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_text_is_inert(words: str) -> None:
    inert = report.text(words)
    assert not re.search(r"[|`<>\[\]*_~\\\n\r\"']|@\w|(?<!&)#\d|https?:/|www\.", inert)
    assert len(inert) <= 361
    places = facts(
        verdict=words,
        params=[report.Setting(words, words, words)],
        build=built(words),
        checks=[check(id=words, title=words, unit=words, reason=words)],
    )
    plain = facts(verdict="v", params=[report.Setting("p", "p", "p")], build=built("b"))
    body, calm = report.render(places), report.render(plain)
    for mark in ("```", "<details>", "</details>", "<!--", "<script", "\n|", "\n#"):
        assert body.count(mark) == calm.count(mark), mark
    assert "@octocat" not in body and "https://evil" not in body


@given(st.text())
def test_no_text_gets_out_of_its_cell(words: str) -> None:
    inert = report.text(words)
    assert not re.search(r"[|`<>\[\]*_~\\\n\r]|@\w|(?<!&)#\d|https?:/", inert)
    assert inert.count("&") == len(re.findall(r"&#\d+;", inert))


@pytest.mark.parametrize(
    ("words", "limit", "shown"),
    [
        ("the holdout has too few rows", 18, "the holdout has…"),
        ("the holdout has too few rows", 19, "the holdout has too…"),
        ("the holdout has", 15, "the holdout has"),
        ("a_b a_b a_b", 5, "a&#95;b…"),  # of at most 15 letters once inert
        ("refused, " + "x" * 200, 100, "refused, " + "x" * 91 + "…"),
    ],
)
def test_a_message_is_cut_between_words(words: str, limit: int, shown: str) -> None:
    """Inside a word only where the word is most of the message."""
    assert report.text(words, limit) == shown


@given(st.text("ab- ,", max_size=80), st.integers(2, 40))
def test_no_word_is_cut_that_is_shorter_than_half_of_the_message(
    words: str, limit: int
) -> None:
    line = " ".join(words.split())
    shown = report.text(words, limit)
    if shown.endswith("…") and max(map(len, line.split())) < limit // 2:
        kept = html.unescape(shown[:-1])
        assert line.startswith(f"{kept} ") or line == kept


@pytest.mark.parametrize("rows", [10, 2_000, 50_000])
def test_it_never_outgrows_a_comment(rows: int) -> None:
    params = [report.Setting(f"setting {n}", "|" * 80, "@" * 80) for n in range(rows)]
    body = report.render(facts(params=params))
    assert len(f"{report.MARKER}\n{body}") < 65_536
    assert ("Too long for a comment" in body) is (rows > 10)
    assert "make setup repro validate" in body, "only what is too long is cut"
    assert "manifest: `" in body and body.count("<details") == body.count("</details>")


def test_a_long_verdict_and_many_cautions_do_not_push_the_footer_out() -> None:
    many = {"cautions": [report.code("x" * 1000) * 10] * 200}
    body = report.render(facts(verdict="word " * 50_000, **many))
    assert len(body) < 65_536 and "manifest: `" in body


def test_in_a_terminal_it_reads_as_words() -> None:
    """No tag, entity or chart; each word and number is still there."""
    told = report.details("Curve", "```mermaid\nxychart-beta\n```\n\n| a&nbsp;b |")
    said = report.text("main's a_b @c; 3 > 2")
    body = f"{said}\n\n{told}\n\n<sub>`ab12`</sub>"
    words = "main's a_b @c; 3 > 2\n\n### Curve\n\n| a b |\n\n`ab12`"
    assert report.plain(body) == words


WORDS = st.text(max_size=400) | st.sampled_from(HOSTILE)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["ready", "here", "blocked"]),
    st.lists(st.tuples(WORDS, st.booleans(), st.booleans()), max_size=40),
    WORDS,
    st.integers(0, 400),
)
def test_whatever_is_found_the_report_is_a_comment_that_can_be_read(
    state: str, found: list[tuple[str, bool, bool]], words: str, many: int
) -> None:
    """Its size, its fixed order, its one table, its words; and no hostile markup."""
    checks = [
        check(id=w, title=w, passed=p, unit=w, reason=w, gate=g) for w, p, g in found
    ]
    cautions = [report.text(words, 800)] * min(many, 9)
    slices = Slices(words, many, [hostile(words)] * many)
    params = [report.Setting(words, words * 9, words) for _ in range(many)]
    body = report.render(
        facts(
            state=state,
            verdict=words,
            checks=checks,
            cautions=cautions,
            params=params,
            slices=slices,
            build=built(words),
        )
    )
    assert len(f"{report.MARKER}\n{body}") < 65_536
    head = body.split("<details")[0]
    rows = [line for line in head.splitlines() if line.startswith("|")]
    assert len(rows) <= 2 + 8 and all(row.count(" | ") <= 5 for row in rows)
    assert ("[!CAUTION]" in head) is bool(cautions)
    assert body.count("<details") == body.count("</details>")
    assert body.count("```") % 2 == 0 and body.rstrip().endswith("</sub>")
    assert not re.search(r"@octocat|<script|https://evil|\u202e", body)
    for row in rows[2:]:
        assert re.match(r"\| (✅&nbsp;passed|⛔&nbsp;failed) \| ", row)


def hostile(words: str) -> Slice:
    """Return a slice that a stranger named."""
    return msgspec.structs.replace(SLICE, column=words, value=words)


def built(words: str) -> report.Build:
    """Return a build whose stages a stranger named."""
    return report.Build(stages_run=[words], restored=False, seconds=1.0)


def test_every_part_that_a_reviewer_is_promised_has_its_section() -> None:
    """In its order; by id, whatever it is called."""
    ids = [section.id for section in SECTIONS]
    wanted = "calibration roc decisions slices fairness importance replay footprint"
    wanted += " changes checks params reproduce"
    assert [name for name in ids if name in wanted.split()] == wanted.split()
    assert len(set(ids)) == len(ids)


COMPARED = [  # what was held against the limit stands first, with its digits
    (check(), "0.7000", "≥ 0.6"),
    (check(value=0.59999, passed=False), "0.59999", "≥ 0.6"),
    (check(value=4213, limit=1000, unit="rows"), "4,213 rows", "≥ 1,000 rows"),
    (check(value=1, limit=0, operator="<=", unit="rows", passed=False), "1 row", "≤ 0"),
    (check(value=0.012, limit=0.05, operator="<=", unit="share"), "1.2%", "≤ 5%"),
    (check(value=1.2e-7, limit=1e-5, operator="<="), "1.2e-07", "≤ 1e-05"),
    (
        check(value=20.0004, limit=20, operator="<=", unit="MB", passed=False),
        "20.0004 MB",
        "≤ 20 MB",
    ),
    (check(value=None, operator="", limit=None), "", ""),
]


@pytest.mark.parametrize(("found", "value", "limit"), COMPARED)
def test_a_number_is_shown_as_it_was_compared(
    found: Check, value: str, limit: str
) -> None:
    assert report.value(found) == value
    assert report.allowed(found).startswith(limit)


def test_a_difference_that_passes_shows_the_end_of_its_interval() -> None:
    """Not the difference, which may be beyond the limit that it is shown beside."""
    found = check(
        statistic="lower bound",
        value=-0.0041,
        operator="<=",
        limit=0.01,
        estimate=0.0312,
        interval=None,
    )
    assert report.value(found) == "lower bound -0.0041 (estimate +0.0312)"
    assert report.allowed(found) == "lower bound ≤ +0.01", "the number beside it"
    near = check(
        statistic="lower bound",
        value=-0.010001,
        operator=">=",
        limit=-0.01,
        estimate=-0.002,
        interval=(-0.010001, 0.006),
        passed=False,
    )
    assert report.value(near).startswith("lower bound -0.010001 (estimate -0.0020,")


def test_what_had_no_champion_to_compare_with_is_not_called_passed() -> None:
    margin: dict[str, Any] = {"statistic": "lower bound", "operator": ">="}
    margin["limit"] = -0.01
    alone = check(value=None, **margin)
    assert record.check_row(alone)[0] == "–&nbsp;not compared"
    assert record.check_row(check(value=0.0, **margin))[0] == "✅&nbsp;passed"
    unknown = check(value=None, passed=False, **margin)
    assert record.check_row(unknown)[0] == "⛔&nbsp;failed"
    equal = check(value=None, operator="", limit=None)
    assert record.check_row(equal)[0] == "✅&nbsp;passed"
