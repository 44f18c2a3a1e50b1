"""The history: every run, every version and proposal, as pages without a network."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from machinery.world import git, world
from mlgitops.ledger import Ledger
from mlgitops.monitor import history, timeline
from mlgitops.monitor.sparkline import Line, chart


def run(seq: int, decision: str = "none", **measured: float) -> dict[str, Any]:
    """Return a monitoring record."""
    return {
        "seq": seq,
        "time": f"2020-01-{seq:02}T00:00:00+00:00",
        "decision": decision,
        "sentence": f"Run {seq}: <script>alert(1)</script>.",
        "version": "v1.0.0",
        "manifest_sha256": "a" * 64,
        "window": {
            "from": "2020-01-01",
            "until": "2020-01-28",
            "rows": 10,
            "labels": 5,
        },
        "checks": [],
        "counts": {},
        "compared_with": "all rows",
        "false_alarms": {"rate": 0.01, "per_year": 0.52},
        "measured": measured,
        "run_url": "javascript:alert(1)",
    }


def test_the_ledger_becomes_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch):
        ledger = Ledger()
        release = {"version": "v1.0.0", "state": "confirmed", "time": "2020-01-02"}
        deployed = "https://github.com/o/r/actions/runs/7"
        release |= {"run_url": deployed, "pull_request": 2}
        pull = {"pull": 4, "action": "opened", "url": "https://github.com/o/r/pull/4"}
        files: dict[str, Any] = {
            "monitoring/00000001.json": run(
                1, performance=0.7, estimated=0.71, drift=0.4
            ),
            "monitoring/00000003.json": run(3, "retrain", performance=0.6, drift=2.0),
            "environments/production/history/00000002.json": {**release, "seq": 2},
            "proposals/00000004.json": {**pull, "seq": 4, "time": "2020-01-04"},
        }
        ledger.append(files, "what happened")
        place = history.publish(ledger, run(5, "watch"))
        history.push()
        text = place.read_text()
        assert re.findall(r'badge (\w+)"', text) == [
            "watch",
            "watch",
            "retrain",
            "none",
        ]
        assert f'<a href="{deployed}">v1.0.0 in production (confirmed)</a>' in text
        assert 'from <a href="https://github.com/o/r/pull/2">#2</a>' in text
        assert 'pull/4">retraining pull request #4 opened</a><' in text + "<"
        assert "0.52 expected a year" in text and "line main" in text
        assert "<script" not in text and "javascript:" not in text
        assert not re.search(r'(src|href)="(?!runs/|https://github.com/o/r)', text)
        for link in re.findall(r'href="(runs/[^"]+)"', text):
            assert (place.parent / link).is_file()
        git("fetch", "-q", "origin", history.PAGES)
        served = git("ls-tree", "-r", "--name-only", "FETCH_HEAD")
        assert "index.html" in served and "runs/00000003.html" in served


def test_a_thousand_runs_are_one_small_page() -> None:
    runs = [
        run(n % 28 + 1, performance=0.7 + n % 7 / 100, drift=0.5) for n in range(1000)
    ]
    started = time.process_time()
    text = timeline.index(runs, [])
    assert time.process_time() - started < 1 and len(text) < 1_000_000


def test_a_history_shows_the_newest_runs_and_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SHOWN", 2)
    with world(tmp_path, monkeypatch):
        ledger = Ledger()
        files: dict[str, Any] = {
            f"monitoring/{seq:08}.json": run(seq) for seq in (1, 3, 4, 6)
        }
        for seq in (2, 5):
            proposal = {"pull": seq, "action": "opened", "seq": seq}
            files[f"proposals/{seq:08}.json"] = proposal
        ledger.append(files, "what happened")
        place = history.publish(ledger)
        text = place.read_text()
        assert "Older runs, in the ledger alone: 2." in text
        assert "pull request #5" in text and "pull request #2" not in text
        pages = sorted(page.name for page in (place.parent / "runs").iterdir())
        assert pages == ["00000004.html", "00000006.html"]


def test_a_history_without_runs_says_where_the_newest_is() -> None:
    assert "build/monitor.html" in timeline.index([], [])


def test_a_chart_breaks_where_nothing_is_known() -> None:
    drawn = chart("AUC", [Line("auc", [0.7, None, 0.6, 0.65])], [(2, "v2 <b>")])
    assert drawn.count('class="line main" d="M') == 3, "two pieces and the legend"
    assert "v2 &lt;b&gt;" in drawn and "auc 0.650" in drawn
    assert chart("AUC", [Line("auc", [None])], []) == ""
