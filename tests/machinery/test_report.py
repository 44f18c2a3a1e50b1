"""The report: verdict first, few words, and nothing that a stranger wrote is markup."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlgitops import report
from mlgitops.report.sections import sections

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
CHECK = {
    "name": "ROC AUC",
    "passed": True,
    "value": "0.7",
    "limit": "≥ 0.6",
    "why": "good enough",
    "gate": True,
}


def facts(**changes: Any) -> dict[str, Any]:
    """Return the facts of a challenger that passed."""
    bins = [
        {
            "low": n / 10,
            "high": (n + 1) / 10,
            "rows": 9,
            "predicted": 0.1,
            "observed": 0.2,
        }
        for n in range(5)
    ]
    return {
        "state": "ready",
        "verdict": "Every check passed.",
        "next": "review and merge.",
        "headline": {
            "champion": 0.63,
            "challenger": 0.7,
            "difference": 0.07,
            "low": 0.06,
            "high": 0.08,
            "confidence": 0.95,
        },
        "checks": [CHECK],
        "metrics": [
            {"name": "Brier", "champion": 0.2, "challenger": 0.1, "better": "lower"}
        ],
        "calibration": {"champion": bins[:4], "challenger": bins},
        "power": {"smallest": 0.012, "power": 0.8},
        "rows": {"rows held out": "12"},
        "params": [["columns", "a", "b"]],
        "build": {"stages run": "train"},
        "manifest_sha256": "a" * 64,
        "data_sha256": "b" * 64,
        "head_sha": "c" * 40,
        "rules_sha": "d" * 40,
        "pull_request": 7,
        "run_url": "https://github.com/o/r/actions/runs/1",
        **changes,
    }


def test_the_verdict_comes_first_and_the_manifest_stands_in_full() -> None:
    body = report.render(facts())
    assert body.startswith("## ✅ Ready to merge\n\nEvery check passed.\n\n**Next:**")
    assert "ROC AUC 0.6300 → **0.7000** · +0.0700 (95% interval +0.0600" in body
    line = next(line for line in body.splitlines() if line.startswith("ROC AUC 0.63"))
    assert line.endswith(f"· manifest {'a' * 12} · data {'b' * 12}")
    assert re.findall(r"manifest: `([0-9a-f]{64})`", body) == ["a" * 64]
    order = ["## ", "ROC AUC 0.63", "| Check |", "<details>", "---\n\n<sub>"]
    assert sorted(order, key=body.index) == order


def test_what_the_monitor_expected_stands_below_the_headline() -> None:
    words = "The monitor expected more: **confirmed**."
    body = report.render(facts(expectation=words))
    assert f"\n\n{words}\n\n| " in body
    assert "monitor" not in report.render(facts(expectation=""))


@pytest.mark.parametrize("state", ["ready", "decide", "blocked"])
def test_words_stand_beside_every_icon(state: str) -> None:
    checks = [CHECK, {**CHECK, "passed": state != "blocked"}]
    for line in report.render(facts(state=state, checks=checks)).splitlines():
        for icon in "✅⛔🟡":
            assert f"{icon} |" not in line and not line.endswith(icon)


def test_the_table_has_at_most_eight_rows_and_failures_come_first() -> None:
    checks = [{**CHECK, "name": f"check {n}"} for n in range(20)]
    checks[15]["passed"] = False
    head = report.render(facts(checks=checks)).split("<details>")[0]
    rows = [line for line in head.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 8 and "check 15" in rows[0] and "13 of 13" in rows[-1]


def test_more_failures_than_rows_are_not_called_passed() -> None:
    checks = [{**CHECK, "passed": False} for _ in range(12)]
    head = report.render(facts(checks=checks)).split("<details>")[0]
    assert "| ⛔&nbsp;failed | Other checks | 0 of 5 |" in head


def test_an_alert_appears_only_when_there_is_a_caution() -> None:
    assert "[!CAUTION]" not in report.render(facts())
    body = report.render(facts(cautions=["first", "second"]))
    assert "> [!CAUTION]\n> first\n>\n> second\n" in body


def test_more_cautions_than_the_alert_holds_are_folded_below_it_not_lost() -> None:
    said = [f"caution {n}" for n in range(8)]
    head, first, *_ = report.render(facts(cautions=said)).split("<details>")
    assert [n for n in said if n in head] == said[:5]
    assert first.startswith("\n<summary>More to look at</summary>")
    assert [n for n in said if n in first] == said[5:]
    assert "More to look at" not in report.render(facts(cautions=said[:5]))


def test_how_to_overrule_is_told_only_where_it_is_possible() -> None:
    """With the model that was read, so that no other one passes by it."""
    body = report.render(facts(state="blocked", override=True))
    told = "gh workflow run validate.yml -f pull_request=7 -f manifest=aaaaaaaaaaaa"
    assert f'{told} -f reason="..."' in body
    assert "<summary>Reproduce this, or overrule it</summary>" in body
    body = report.render(facts(state="blocked", override=False))
    assert "validate.yml" not in body and "<summary>Reproduce this</summary>" in body


def test_without_a_champion_it_says_so() -> None:
    headline = {**facts()["headline"], "champion": None}
    assert "(no champion yet)" in report.render(facts(headline=headline))


COUNTS = {
    "threshold": 0.3,
    "true_positive": 1234,
    "false_positive": 5,
    "false_negative": 6,
    "true_negative": 7,
}
WORTH = {
    "unit": "minutes",
    "per": 1000,
    "champion": 100.0,
    "challenger": 1250.0,
    "difference": 1150.0,
    "low": 1000.0,
    "high": 1300.0,
    "threshold": 0.3,
    "best_threshold": 0.333,
    "best": 1300.0,
}
SLICE = {
    "column": "carrier",
    "value": "AA",
    "rows": 300,
    "champion": 0.1,
    "challenger": 0.2,
    "difference": 0.1,
    "low": 0.05,
    "high": 0.15,
    "failed": True,
}


def evidence(**changes: Any) -> dict[str, Any]:
    """Return the facts with everything that the judge may find."""
    return facts(
        roc={"champion": [[0, 0], [1, 1]], "challenger": [[0, 0], [0.2, 0.8], [1, 1]]},
        confusion={"champion": COUNTS, "challenger": COUNTS},
        mcnemar={"only_champion_right": 3, "only_challenger_right": 50, "p": 1e-9},
        business=WORTH,
        slices={"metric": "Brier score", "looked_at": 40, "rows": [SLICE]},
        **changes,
    )


def test_decisions_their_worth_and_the_worst_slices_are_shown() -> None:
    body = report.render(evidence())
    head = body.split("<details>")[0]
    assert (
        "worth 100 → **1,250** minutes per 1,000 decisions, "
        "+1,150 (+1,000 to +1,300)" in head
    )
    assert "| champion | 0.3 | 1,234 | 5 | 6 | 7 |" in body
    assert "McNemar's exact test, p = 1e-09" in body
    assert "threshold 0.333 would be worth most" in body
    assert "⛔ surely worse, +0.0500 to +0.1500" in body
    assert "would have shown on these rows 80% of the time" in body


def test_the_roc_curve_is_drawn_between_its_points() -> None:
    body = report.render(evidence())
    curve = next(line for line in body.splitlines() if "line [0.000, 0.400" in line)
    assert curve.strip().startswith("line [0.000, 0.400, 0.800, 0.825")
    assert "| 0.2 | 0.200 | 0.800 |" in body


def test_without_a_champion_nothing_is_compared() -> None:
    alone = {**WORTH, "champion": None}
    row = {k: SLICE[k] for k in ("column", "value", "rows", "challenger")}
    found = {
        "metric": "Brier score",
        "looked_at": 1,
        "rows": [{**row, "champion": None}],
    }
    body = report.render(
        facts(
            business=alone,
            confusion={"challenger": COUNTS},
            roc={"challenger": [[0, 0], [1, 1]]},
            slices=found,
        )
    )
    assert "worth 1,250 minutes per 1,000 decisions" in body
    assert "| carrier: AA | 300 | none | 0.2000 | none | none |" in body


def test_what_a_model_looks_at_is_shown() -> None:
    words = "a|b"
    body = report.render(
        facts(
            importance=[
                {"column": words, "champion": None, "challenger": [0.1, 0, 0.2]}
            ],
            dependence=[
                {"column": words, "places": [words, "1"], "challenger": [0.1, 1]}
            ],
            flips=[
                {
                    "champion": 0.1,
                    "challenger": 0.9,
                    "truth": 1,
                    "reasons": [[words, words, -0.5]],
                }
            ],
            footprint={"challenger": {"p50_ms": 0.1, "p99_ms": 0.2, "megabytes": 1}},
        )
    )
    inert = report.code(words)
    assert f"| {inert} | not used | 0.1000 (0.0000 to 0.2000) |" in body
    assert f"| {inert} | challenger |" in body and f"| {inert} | 0.100 |" in body
    assert f"| 0.100 | 0.900 | 1 | {report.code(f'{words} = {words}')} -0.500 |" in body
    assert "| challenger | 0.100 | 0.200 | 1.000 |" in body


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_names_of_data_are_inert(words: str) -> None:
    found = {"metric": "Brier score", "looked_at": 1, "rows": [SLICE]}
    hostile = {**found, "rows": [{**SLICE, "column": words, "value": words}]}
    body, calm = (report.render(facts(slices=each)) for each in (hostile, found))
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
        params=[[words, words, words]],
        build={words: words},
        checks=[{**CHECK, "name": words, "value": words, "limit": words, "why": words}],
    )
    plain = facts(verdict="v", params=[["p", "p", "p"]], build={"b": "b"})
    body, calm = report.render(places), report.render(plain)
    for mark in ("```", "<details>", "</details>", "<!--", "<script", "\n|", "\n#"):
        assert body.count(mark) == calm.count(mark), mark
    assert "@octocat" not in body and "https://evil" not in body


@given(st.text())
def test_no_text_gets_out_of_its_cell(words: str) -> None:
    inert = report.text(words)
    assert not re.search(r"[|`<>\[\]*_~\\\n\r]|@\w|(?<!&)#\d|https?:/", inert)
    assert inert.count("&") == len(re.findall(r"&#\d+;", inert))


@pytest.mark.parametrize("rows", [10, 2_000, 50_000])
def test_it_never_outgrows_a_comment(rows: int) -> None:
    params = [[f"setting {n}", "|" * 80, "@" * 80] for n in range(rows)]
    body = report.render(facts(params=params))
    assert len(f"{report.MARKER}\n{body}") < 65_536
    assert ("Too long for a comment" in body) is (rows > 10)
    assert "make setup repro validate" in body, "only what is too long is cut"
    assert "manifest: `" in body and body.count("<details>") == body.count("</details>")


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
    st.sampled_from(["ready", "here", "decide", "blocked"]),
    st.lists(st.tuples(WORDS, st.booleans(), st.booleans()), max_size=40),
    WORDS,
    st.integers(0, 400),
)
def test_whatever_is_found_the_report_is_a_comment_that_can_be_read(
    state: str, found: list[tuple[str, bool, bool]], words: str, many: int
) -> None:
    """Its size, its fixed order, its one table, its words; and no hostile markup."""
    checks = [
        {"name": w, "passed": p, "value": w, "limit": w, "why": w, "gate": g}
        for w, p, g in found
    ]
    cautions = [report.text(words, 800)] * min(many, 9)
    slices = {"metric": words, "looked_at": many, "rows": [hostile(words)] * many}
    params = [[words, words * 9, words] for _ in range(many)]
    body = report.render(
        facts(
            state=state,
            verdict=words,
            checks=checks,
            cautions=cautions,
            params=params,
            slices=slices,
            build={words: words},
        )
    )
    assert len(f"{report.MARKER}\n{body}") < 65_536
    head = body.split("<details>")[0]
    rows = [line for line in head.splitlines() if line.startswith("|")]
    assert len(rows) <= 2 + 8 and all(row.count(" | ") <= 5 for row in rows)
    assert ("[!CAUTION]" in head) is bool(cautions)
    assert body.count("<details>") == body.count("</details>")
    assert body.count("```") % 2 == 0 and body.rstrip().endswith("</sub>")
    assert not re.search(r"@octocat|<script|https://evil|\u202e", body)
    for row in rows[2:]:
        assert re.match(r"\| (✅&nbsp;passed|⛔&nbsp;failed) \| ", row)


def hostile(words: str) -> dict[str, Any]:
    """Return a slice that a stranger named."""
    return {**SLICE, "column": words, "value": words}


def test_every_part_that_a_reviewer_is_promised_has_its_section() -> None:
    """The list of the report, in its order; each with what the judge finds."""
    titles = [title for title, _ in sections(facts())]
    wanted = ["Calibration", "ROC curve", "Decisions", "Slices", "Fairness"]
    wanted += ["What the models look at", "Production's newest requests, decided again"]
    wanted += ["Latency and size", "Data changes since the champion", "Checks"]
    wanted += ["Settings that differ from the champion's", "Reproduce this"]
    assert [title for title in titles if title in wanted] == wanted
