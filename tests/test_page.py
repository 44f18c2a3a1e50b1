"""The page of the rehearsal: order, escaping, GitHub's Markdown, no network."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rehearsal.page import comment_page, write
from rehearsal.page.browser import Browser, BrowserError, program
from rehearsal.page.markdown import render
from rehearsal.page.picture import main, take, take_comment
from rehearsal.page.sanitize import PLAIN, sanitize

HERE = Path(__file__).parents[1] / "rehearsal" / "page"
SHAS = [letter * 12 + "4f1e0c9a7b3d5268" * 3 + "0af7" for letter in "3c9"]
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"

REPORT = """<!-- validation report -->
## ✅ Ready to merge

The challenger is better than the champion on the same 18,211 flights&#58;&#8203; \
+0.0312 ROC AUC, and the whole 95% interval lies above the margin.

ROC AUC 0.6521 → **0.6833** · +0.0312 (95% interval +0.0241 to +0.0384) · \
manifest {short} · data 5a0e12c4b7d9

|  | Check | Found | Allowed | Meaning |
| --- | --- | --- | --- | --- |
| ✅ passed | roc&#95;auc at least | 0.6833 | &#62;= 0.60 | below it no model ships |
| ✅ passed | not worse than champion | +0.0241 | &#62; &#45;0.0100 | paired bootstrap |
| ✅ passed | export parity | 1.2e&#45;07 | &#60;= 1e&#45;05 | the exported file \
answers as the estimator did |
| ✅ passed | Other checks | 5 of 5 | all | listed under Checks |

> [!CAUTION]
> The holdout is only 14 days long: the weather of one fortnight.
>
> **EWR** got slightly worse: ROC AUC 0.6610 → 0.6588 on 6,402 flights.

<details>
<summary>Calibration</summary>

```mermaid
xychart-beta
  title "Calibration on the holdout"
  x-axis "predicted probability" ["0.0-0.1", "0.1-0.2", "0.2-0.3", "0.3-0.4"]
  y-axis "observed share" 0 --> 0.4
  line [0.0500, 0.1500, 0.2500, 0.3500]
  line [0.0700, 0.1400, 0.2400, 0.3600]
```

| Predicted | Rows | Challenger predicts | Challenger observed | Champion predicts \
| Champion observed |
| --- | ---: | --- | --- | --- | --- |
| 0.00 to 0.10 | 2,210 | 0.050 | 0.070 | 0.050 | 0.065 |
| 0.10 to 0.20 | 6,120 | 0.150 | 0.140 | 0.150 | 0.130 |

</details>

<details>
<summary>Reproduce this</summary>

```sh
git fetch origin refs/pull/{number}/head && git checkout FETCH_HEAD \
&& make setup repro validate
```

</details>

---

<sub>manifest: `{sha}` · commit 91c0ffee4d2a · rules of main at 7be1a90c33f2 · \
[run](http://127.0.0.1:4000/octo/flights/actions/runs/{run})</sub>
"""
REFUSED = """<!-- validation report -->
## ⛔ Blocked

The challenger is worse than the champion by more than the margin.

| | Check | Found | Allowed |
| --- | --- | --- | --- |
| ⛔ failed | not worse than champion | -0.0518 | > -0.0100 |

> [!WARNING]
> Merging is blocked by the status `validate`.
"""
BODY = """Observed weather at the airport is known before departure as a forecast.

- [x] the columns are in `contract.yaml`
- [x] `make test` is green
- [ ] ask @mona about the de-icing log

```diff
-columns: [carrier, origin, dest, weekday, minute, distance]
+columns: [carrier, origin, dest, weekday, minute, distance, temp, wind_speed]
```

See #1 for where it started.
"""
LOOP = """The loop, once:

```mermaid
flowchart LR
  proposal --> train --> validate --> merge --> deploy --> monitor --> proposal
```
"""
AUDIT = """2013-05-14 in production
  version      v1.1.0   (3c3c4f1e0c9a)
  data         data/flights.parquet  sha256 5a0e12c4b7d9...  80,325 rows
  code         91c0ffee4d2a   params train.estimator=hist_gradient_boosting
  proposed by  ada        reviewed by  mona        merged by  mona
  verdict      verdicts/3c3c4f1e0c9a.../00000004-9.json   passed
"""


def _pull(number: int, title: str, state: str, **more: Any) -> dict[str, Any]:
    passed = state != "closed"
    said = "better than the champion" if passed else "worse than the champion"
    return {
        "number": number,
        "title": title,
        "author": "ada",
        "head": f"proposal-{number}",
        "base": "main",
        "state": state,
        "body": "",
        "comments": [],
        "statuses": [
            {"context": "ci", "state": "success", "description": "all jobs passed"},
            {
                "context": "validate",
                "state": "success" if passed else "failure",
                "description": said,
            },
        ],
        "reviews": [{"user": "mona", "state": "APPROVED"}] if passed else [],
        "merged_by": "mona" if state == "merged" else None,
        "fork": False,
    } | more


def _comment(body: str) -> dict[str, str]:
    author = "github-actions[bot]"
    return {"author": author, "body": body, "time": "2025-03-04T10:12:44+00:00"}


def _run(number: int, workflow: str, title: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "workflow": workflow,
        "event": "pull_request" if workflow in ("ci", "train") else "workflow_run",
        "title": title,
        "conclusion": "success",
        "seconds": 6.4 + number,
        "log": f"logs/{number}.log",
    } | more


def _step(name: str, title: str, seconds: float, **more: Any) -> dict[str, Any]:
    bare = {"name": name, "title": title, "ok": True, "seconds": seconds}
    return bare | {"facts": {}, "text": "", "refs": []} | more


def _refs(*pairs: tuple[str, int | str]) -> list[dict[str, Any]]:
    keys = {"pull": "number", "run": "id", "deployment": "id"}
    return [{"kind": kind, keys[kind]: key} for kind, key in pairs]


def _read(sha: str) -> dict[str, dict[str, str]]:
    return {
        "manifest_sha256": dict.fromkeys(["comment", "ledger", "tag", "/info"], sha)
    }


def _steps() -> list[dict[str, Any]]:
    monitoring = {
        "kind": "monitoring",
        "record": {
            "decision": "retrain",
            "sentence": "4 of 11 columns drifted and ROC AUC fell by 0.058.",
            "window": {"from": "2013-08-01", "until": "2013-08-31", "rows": 27912},
        },
        "path": "reports/august.html",
        "title": "August against the training data (Evidently)",
    }
    return [
        _step(
            "generate",
            "A repository is generated",
            3.2,
            text=LOOP,
            facts={"files": 84, "second_run_changed": 0, "storage": "branch"},
        ),
        _step(
            "first",
            "The first model is validated, merged and deployed",
            48.0,
            facts=_read(SHAS[0]) | {"roc_auc": 0.6521, "training_rows": 62114},
            refs=_refs(("pull", 1), ("run", 1), ("run", 2), ("deployment", 1)),
        ),
        _step(
            "better",
            "A better model: the weather",
            61.5,
            text="Ada proposes four weather columns. **Nothing trains on main**: what "
            "was validated is what is merged, and what is merged is what runs.",
            facts=_read(SHAS[1]) | {"merged": True, "approved_by": ["mona", "lin"]},
            refs=_refs(
                ("pull", 2),
                ("run", 3),
                ("run", 4),
                ("deployment", 2),
                ("deployment", 3),
            ),
        ),
        _step(
            "worse",
            "A worse model is refused, twice",
            39.0,
            text="The forge refuses the merge; `deploy` refuses it again when forced.",
            facts={"merge_answer": 405, "deployed": False},
            refs=_refs(("pull", 3), ("run", 5), ("run", 6)),
        ),
        _step("fork", "A stranger's fork gets no secret", 31, refs=_refs(("pull", 4))),
        _step(
            "traffic",
            "Five months of traffic, and drift",
            52.3,
            facts={"answered": 138112, "dropped": 0, "labelled": 131984},
            refs=[monitoring],
        ),
        _step("retrain", "The retraining pull request", 57, refs=_refs(("pull", 5))),
        _step(
            "rollback",
            "A rollback leaves a trace",
            12.0,
            refs=[*_refs(("deployment", 4)), *_refs(("pull", 2))],
        ),
        _step(
            "audit",
            "What served on 14 May 2013?",
            1.1,
            refs=[
                {"kind": "text", "title": "make audit DATE=2013-05-14", "body": AUDIT}
            ],
        ),
    ]


def _story() -> dict[str, Any]:
    report = {"short": SHAS[1][:12], "sha": SHAS[1], "number": 2, "run": 4}
    first = REPORT.format(**report | {"sha": SHAS[0], "number": 1, "run": 2})
    better, weather = _comment(REPORT.format(**report)), "Add the weather (4 columns)"
    pulls = [
        _pull(1, "First model", "merged", body="Begin.", comments=[_comment(first)]),
        _pull(2, weather, "merged", body=BODY, comments=[better]),
        _pull(3, "Use a logistic regression", "closed", comments=[_comment(REFUSED)]),
        _pull(4, "Fix a typo", "open", author="stranger", fork=True, reviews=[]),
        _pull(5, "Retrain on data until 31 August", "merged", author="flights[bot]"),
    ]
    runs = [
        _run(1, "train", "First model"),
        _run(2, "validate", "First model"),
        _run(3, "train", weather),
        _run(4, "validate", weather),
        _run(5, "validate", "Use a logistic regression"),
        _run(6, "deploy", "forced onto main", conclusion="failure", event="push"),
    ]
    places = [(1, "production"), (2, "staging"), (3, "production"), (4, "production")]
    return {
        "title": "The life of flights, a repository made by cookiecutter-ml-gitops",
        "subtitle": "Every pull request, report, run and deployment of the rehearsal, "
        "in the order in which they happened. Real data, real tools, one machine.",
        "ok": True,
        "seconds": 305.1,
        "steps": _steps(),
        "pulls": {pull["number"]: pull for pull in pulls},
        "runs": {run["id"]: run for run in runs},
        "deployments": {
            number: {
                "id": number,
                "environment": environment,
                "version": f"v1.{int(number in (2, 3))}.0",
                "manifest_sha256": SHAS[int(number in (2, 3))],
                "state": "success",
                "action": "rollback" if number == 4 else "deploy",
                "time": f"2025-03-04T10:{10 + number}:00+00:00",
            }
            for number, environment in places
        },
    }


def _folder(folder: Path) -> Path:
    """Write the files that lie beside the page."""
    for name in ("logs", "reports"):
        folder.joinpath(name).mkdir(parents=True)
    for number in range(1, 7):
        lines = [f"| step {n} \x1b[32mok\x1b[0m <b>{number}</b>" for n in range(120)]
        folder.joinpath(f"logs/{number}.log").write_text("\n".join(lines))
    folder.joinpath("reports/august.html").write_text("<title>August</title>")
    return folder


class _Seen(HTMLParser):
    """Every tag of a page with its attributes, and its text by tag."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(_folder(tmp_path_factory.mktemp("demo") / ".demo"), _story())


@pytest.fixture(scope="module")
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_steps_and_what_they_show_come_in_order(text: str) -> None:
    ids = [a["id"] for _, a in _Seen(text).tags if a.get("id") and a["id"] != "main"]
    assert [i for i in ids if i and i.startswith("step")] == [
        f"step-{n}" for n in range(1, 10)
    ]
    third = ids[ids.index("step-3") + 1 : ids.index("step-4")]
    assert third == ["pull-2", "run-3", "run-4", "deployment-2", "deployment-3"]
    assert len(ids) == len(set(ids))
    assert ids[-1] == "summary"


def test_a_second_mention_is_a_link_and_nothing_is_left_out(tmp_path: Path) -> None:
    story = _story()
    text = write(tmp_path, story).read_text()
    assert text.count('id="pull-2"') == 1
    assert re.search(r'class="again">.*?href="#pull-2"', text)
    story["steps"] = story["steps"][:1]
    alone = write(tmp_path, story).read_text()
    assert "Also in this repository" in alone and "Also in" not in text
    for anchor in ("pull-5", "run-6", "deployment-4"):
        assert f'id="{anchor}"' in alone


def test_a_pull_request_shows_who_checked_reviewed_and_merged(text: str) -> None:
    better = text[text.index('id="pull-2"') : text.index('id="run-3"')]
    assert "<b>mona</b> merged this into <code>main</code>" in better
    assert "approved these changes" in better and "All checks have passed" in better
    worse = text[text.index('id="pull-3"') : text.index('id="run-5"')]
    assert "Some checks were not successful" in worse
    assert "approved" not in worse and "merged this" not in worse
    assert "from a fork" in text[text.index('id="pull-4"') :]
    assert "from a fork" not in better


def test_one_number_is_shown_as_one_and_two_as_two(tmp_path: Path, text: str) -> None:
    assert text.count("equal in all 4 sources") == 4
    assert "NOT equal" not in text
    story = _story()
    story["steps"][1]["facts"]["manifest_sha256"]["/info"] = SHAS[2]
    assert write(tmp_path, story).read_text().count("NOT equal") == 2


def test_a_story_from_a_json_file_is_the_same_story(tmp_path: Path, text: str) -> None:
    story = json.loads(json.dumps(_story()))
    assert write(_folder(tmp_path / "demo"), story).read_text() == text


def test_a_failed_step_is_said_at_the_top(tmp_path: Path) -> None:
    story = _story() | {"ok": False}
    story["steps"][3]["ok"] = False
    text = write(tmp_path, story).read_text()
    assert "A step failed" in text and "8 of 9" in text
    assert "steps passed</p>" not in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    story = _story() | {"title": EVIL, "subtitle": EVIL}
    story["pulls"][2] = {
        "number": 2,
        "comments": [{"author": EVIL, "body": EVIL, "time": EVIL}],
        "statuses": [{"context": EVIL, "state": EVIL, "description": EVIL}],
        "reviews": [{"user": EVIL, "state": EVIL, "body": EVIL}],
    } | dict.fromkeys(["title", "author", "head", "base", "body", "merged_by"], EVIL)
    story["runs"][1] |= dict.fromkeys(["workflow", "event", "title", "log"], EVIL)
    story["deployments"][1] |= dict.fromkeys(["version", "environment", "time"], EVIL)
    story["steps"][0] |= {"title": EVIL, "text": EVIL, "facts": {EVIL: [EVIL]}}
    story["steps"][8]["refs"] = [{"kind": "text", "title": EVIL, "body": EVIL}]
    text = write(tmp_path, story).read_text()
    seen = _Seen(text)
    assert len(seen.all("script")) == 1
    assert not any(name.startswith("on") for _, a in seen.tags for name in a)
    assert not [image for image in seen.all("img") if "src" in image]
    assert text.count("&lt;script&gt;") > 15


@pytest.mark.parametrize(
    "path", ["../secret.log", "/etc/passwd", "javascript:alert(1)//x", "a\\b", "//h/x"]
)
def test_a_log_or_report_elsewhere_is_not_linked(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.log").write_text("hunter2")
    story = _story()
    story["runs"][1]["log"] = path
    story["steps"][0]["refs"] = [{"kind": "report", "path": path, "title": "R"}]
    page = write(_folder(tmp_path / "demo"), story)
    text = page.read_text()
    assert path not in [a.get("href") for a in _Seen(text).all("a")]
    assert "hunter2" not in text and "root:" not in text


def test_a_log_that_is_a_link_to_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.log").write_text("hunter2")
    demo = _folder(tmp_path / "demo")
    (demo / "logs" / "1.log").unlink()
    (demo / "logs" / "1.log").symlink_to(tmp_path / "secret.log")
    assert "hunter2" not in write(demo, _story()).read_text()


def test_a_log_is_shown_from_its_end_and_linked(text: str) -> None:
    assert 'href="logs/1.log"' in text and "Open the whole log (120 lines)" in text
    assert "| step 119 ok &lt;b&gt;1&lt;/b&gt;" in text
    assert "| step 3 ok" not in text


def test_nothing_is_loaded_from_elsewhere(text: str) -> None:
    seen = _Seen(text)
    assert not [a for a in seen.all("script") + seen.all("iframe") if "src" in a]
    assert not seen.all("link")
    assert not re.search(r"@import|url\((?![\"']?data:)", text)
    policy = seen.all("meta")[1]["content"] or ""
    assert "default-src 'none'" in policy and "http" not in policy
    loads = [a.get("src") or "" for a in seen.all("img")]
    assert not [src for src in loads if ":" in src or src.startswith("/")]


def test_the_vendored_library_is_complete_small_and_names_no_registry() -> None:
    library = HERE / "vendor" / "mermaid.js"
    assert library.stat().st_size < 4_000_000
    names = re.compile(rb"npm[j]s|pypi[.]org|unpk[g]|jsdeliv[r]")
    assert not names.search(library.read_bytes())
    assert b"xychart-beta" in library.read_bytes()
    assert "MIT" in (HERE / "vendor" / "mermaid.LICENSE").read_text()


@pytest.mark.parametrize(
    ("markdown", "has", "lacks"),
    [
        ("<!-- marker -->\nseen", "seen", "marker"),
        ("a <script>alert(1)</script> b", " b", "alert"),
        ("<style>*{}</style>ok", "ok", "*{}"),
        ("<b onclick='x()'>b</b>", "<b>b</b>", "onclick"),
        ("<a href='java&#10;script:x()'>l</a>", ">l</a>", "script:"),
        ("[l](javascript:x())", "[l]", "<a"),
        ("[l](data:text/html,x)", "", 'href="data'),
        ("<img src='data:image/png;base64,x' alt='p'>", '<img alt="p">', "data"),
        ("![p](https://example.org/p.png)", '<a href="https://example.org', "<img"),
        ("![p](reports/p.png)", '<a href="reports/p.png"', "<img"),
        ("[![p](p.png)](https://example.org)", ">p</a>", "p.png"),
        ("</div></section><p>in", "<p>in</p>", "</section>"),
        ("<form action='x'>f</form><base href='x'>b", "fb", "<form"),
        ("<video src='x'>v</video>", "v", "<video"),
        ("<div><b>open", "<div><b>open</b></div>", ""),
        ("<input type=text value=x>ok", "ok", "input"),
        ("<b id='summary' name='x'>b</b>", "<b>b</b>", "summary"),
        ("<svg><a href='x'>y</a></svg>z", "z", "svg"),
        ("<kbd>k</kbd> <sub>s</sub><br><sup>u</sup>", "<sub>s</sub><br>", "&lt;"),
        ("- [x] done\n- [ ] open", '<li class="task">☑ done</li>', "<input"),
        ("~~old~~", "<s>old</s>", "~~"),
        ("one\ntwo", "one<br>", "onetwo"),
        ("@mona", "<strong>@mona</strong>", "<a"),
        ("a@mona.org", "a@mona.org", "strong"),
        ("see #1 and #7", ">#1</a> and #7", "#pull-7"),
        ("see #1", '<a href="#pull-1"', "_blank"),
        ("https://example.org/x.", ">https://example.org/x</a>.", "x.<"),
        ("[r](http://h/o/r/actions/runs/3)", 'href="#run-3"', "http"),
        ("`@mona #1`", "<code>@mona #1</code>", "<a"),
        ("> [!NOTE]\n> n", 'alert-note">\n<p class="alert-title">Note', "[!NOTE]"),
        ("> plain", "<blockquote>", "alert"),
        ("|a|\n|:-:|\n|b|", '<td align="center">b</td>', "style"),
    ],
)
def test_markdown_is_githubs(markdown: str, has: str, lacks: str) -> None:
    shown = render(markdown, anchors={"pull-1", "run-3"})
    assert has in shown
    assert not lacks or lacks not in shown


@pytest.mark.parametrize(
    "markup",
    [
        EVIL,
        "<a href='&#x6A;avascript:alert(1)'>a</a>",
        "<a href='vbscript:x' target='top'>a</a><a href='//h/x' ping='//h'>b</a>",
        "<p style='background:url(//h/x)' class='head' tabindex='1'>p</p>",
        "<div role='alert' aria-label='x' class='verdict good'>d</div>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;"
        "&lt;img src=x onerror=alert(1)&gt;'>",
        "<svg></p><style><a id='</style><img src=x onerror=alert(1)>'>",
        "<select><template><script>alert(1)</script></template></select>",
        "<meta http-equiv='refresh' content='0;url=//h'><link href='//h' rel=x>",
        "<img srcset='//h/x 1x' alt='\"><script>alert(1)</script>'>",
        "<plaintext><script>alert(1)</script>",
        "<scr<script>ipt>alert(1)</script>",
        "<!--><script>alert(1)</script>-->",
        "![a\"onerror=alert(1)](https://h/'onerror=alert(1))",
        '[a](https://h/"onmouseover=alert(1))',
    ],
)
def test_hostile_markup_is_reduced_to_the_allow_list(markup: str) -> None:
    """Also inside a table, a list and a code block, and when it is cleaned again."""
    for frame in ("{}", "a {} b", "- {}", "|a|\n|-|\n|{}|", "<div>\n\n{}\n\n</div>"):
        shown = render(frame.format(markup))
        for tag, attributes in _Seen(shown).tags:
            assert tag in PLAIN.split()
            harmless = {"alt", "class", "href", "rel", "tabindex", "target", "title"}
            harmless |= {"role", "aria-label"} if "scroll" in shown else set()
            assert set(attributes) <= harmless, shown
            assert attributes.get("class") in (None, "scroll")
            assert re.match(r"(https://|//h)|$", attributes.get("href") or "")
        assert sanitize(shown) == shown


def test_a_report_keeps_its_details_tables_alert_and_chart() -> None:
    shown = render(REPORT.format(short="x", sha="y", number=2, run=4))
    assert shown.count("<details>") == shown.count("</details>") == 2
    assert "<summary>Calibration</summary>" in shown
    assert shown.count('<div class="scroll"') == shown.count("</table></div>") == 2
    assert '<p class="alert-title">Caution</p>' in shown
    chart = re.search(r'<pre class="mermaid"[^>]*>(.*?)</pre>', shown, re.S)
    assert chart and chart[1].startswith("xychart-beta") and "--&gt; 0.4" in chart[1]
    assert "validation report" not in shown


def test_a_comment_page_is_one_comment() -> None:
    shown = comment_page(REFUSED)
    assert shown.startswith("<!doctype html>") and shown.count('class="comment"') == 1
    assert "github-actions" in shown and "⛔ Blocked" in shown


needs_chromium = pytest.mark.skipif(
    program() is None, reason="no Chromium here to look at the page with"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as chromium:
        yield chromium


@needs_chromium
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_scrolls_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.resize(width, 15_000)
    assert browser.drawn()
    assert browser.evaluate("document.documentElement.scrollWidth") == width


@needs_chromium
def test_charts_are_drawn_without_a_network(browser: Browser, page: Path) -> None:
    browser.requests.clear()
    browser.open(page, 1280, height=15_000, dark=True)
    states = "[...document.querySelectorAll('pre.mermaid')].map(c => c.dataset.state)"
    assert browser.drawn()
    assert browser.evaluate(states) == ["drawn", None, None]
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.resize(1280, 14_000)
    assert browser.drawn()
    assert browser.evaluate(states) == ["drawn"] * 3
    assert browser.evaluate("document.querySelectorAll('.chart svg').length") == 3
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data"}
    assert [u for u in browser.requests if u.endswith("mermaid.js")]


@needs_chromium
def test_hostile_charts_and_comments_run_nothing(
    browser: Browser, tmp_path: Path
) -> None:
    chart = '```mermaid\nflowchart LR\n  a["<img src=x onerror=document.title=1>"]\n'
    chart += '  click a "javascript:document.title=2"\n```\n'
    story = _story() | {"steps": [_step("evil", "e", 1, text=chart + EVIL)]}
    browser.open(write(tmp_path, story), 1280, height=9000)
    browser.evaluate("window.alert = () => { document.title = 'ran' }")
    browser.drawn()
    assert browser.evaluate("document.title") == story["title"]
    links = "[...document.querySelectorAll('svg a')].map(a => a.outerHTML).join('')"
    assert "javascript:" not in browser.evaluate(links)


@needs_chromium
def test_a_picture_is_taken_of_a_page_and_of_a_comment(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = tmp_path / "comment.md"
    comment.write_text(REFUSED)
    shot = tmp_path / "comment.png"
    monkeypatch.setattr("sys.argv", ["picture", str(comment), str(shot), "--dark"])
    main()
    assert shot.read_bytes().startswith(b"\x89PNG")
    take(page, shot, width=390)
    width, height = (int.from_bytes(shot.read_bytes()[n : n + 4]) for n in (16, 20))
    assert width == 390 and height > 5000


def test_without_chromium_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrowserError, match="Chromium"):
        take_comment("x", tmp_path / "x.png")
    monkeypatch.setattr("sys.argv", ["picture", "none.html", "x.png"])
    with pytest.raises(SystemExit, match="There is no file none"):
        main()
