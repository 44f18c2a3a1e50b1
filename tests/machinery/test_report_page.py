"""The report as one HTML file: the comment's facts in its order, drawn, and inert."""

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from machinery.test_report import HOSTILE, PRIMARY, SLICE, built, evidence, facts
from mlgitops import report
from mlgitops.judgement import Bin, ByModel, Curves, Dependence, MetricResult, Slices
from mlgitops.report import page, plots
from mlgitops.report.sections import SECTIONS

VOID = {"meta", "br", "hr"}
ALLOWED = VOID | set(
    "html head title style body main h2 p strong em a code pre table thead tbody tr th "
    "td details summary blockquote sub figure svg g path text circle rect".split()
)


class Walker(HTMLParser):
    """Reads a page: its tags, its words, and whether each tag is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag that closes itself, as SVG has them."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        """Take note of words."""
        self.words.append(data)


def full(**changes: Any) -> report.Facts:
    """Return facts with all that is drawn."""
    brier = MetricResult(
        id="brier",
        label="Brier",
        better="lower",
        champion=0.2,
        challenger=0.1,
        difference=-0.1,
        low=-0.2,
        high=0.0,
    )
    bins = [Bin(n / 5, n / 5 + 0.2, 90, n / 5 + 0.1, n / 5 + 0.05) for n in range(5)]
    roc = [(0.0, 0.0), (0.2, 0.8), (1.0, 1.0)]
    curves = Curves(calibration=bins, roc=roc)
    return evidence(
        **{
            "cautions": ["first", "second"],
            "metrics": [PRIMARY, brier],
            "curves": ByModel(champion=curves, challenger=curves),
            "dependence": [DEPENDENCE],
            **changes,
        }
    )


DEPENDENCE = Dependence(
    column="minute",
    places=["0", "600", "1200"],
    champion=[0.1, 0.2, 0.3],
    challenger=[0.1, 0.3, 0.5],
)


def test_it_holds_the_facts_of_the_comment_in_its_order() -> None:
    text = page.page(full())
    walked = Walker(text)
    words = " ".join(" ".join(walked.words).split())
    titles = [s.title for s in SECTIONS if s.body(full())]
    order = ["Ready to merge", "Every check passed", "+0.0700", "good enough"]
    order += ["⚠ Caution", "first", "second", *titles, "a" * 64]
    places = [words.index(each) for each in order]
    assert places == sorted(places)
    for number in re.findall(
        r"[+-]?\d+\.\d{3,}", report.render(full()).split("```")[0]
    ):
        assert number in words


def test_it_draws_what_the_comment_draws_and_intervals() -> None:
    text = page.page(full())
    figures = re.findall(r"<figure>(.*?)</figure>", text)
    assert len(figures) == 5, "metrics, calibration, ROC, slices, one dependence"
    for figure in figures:
        ElementTree.fromstring(figure)  # well-formed
    assert "mermaid" not in text and "xychart" not in text
    assert 'class="line other"' in text and 'class="dot worse"' in text


def test_it_loads_nothing_and_runs_nothing() -> None:
    text = page.page(full())
    assert "default-src 'none'" in text
    walked = Walker(text)
    assert walked.tags <= ALLOWED, walked.tags - ALLOWED
    assert not {a for a in walked.attributes if a.startswith("on")}
    assert "src" not in walked.attributes and "@import" not in text
    assert "prefers-color-scheme:dark" in text and "width=device-width" in text


def test_nothing_is_cut() -> None:
    rows = [report.Setting(f"setting {n}", "a", "b") for n in range(5_000)]
    text = page.page(full(params=rows))
    assert "setting 4999" in text and "Too long" not in text


def test_a_refusal_without_a_model_is_a_page_too() -> None:
    bare = report.Facts(state="blocked", verdict="Artifact: it is not a sound zip.")
    assert "it is not a sound zip" in " ".join(Walker(page.page(bare)).words)


def hostile(words: str) -> report.Facts:
    """Return facts with a stranger's words wherever they can stand."""
    row = msgspec.structs.replace(SLICE, column=words, value=words)
    places = [words] * 3
    depends = msgspec.structs.replace(DEPENDENCE, column=words, places=places)
    return full(
        verdict=words,
        params=[report.Setting(words, words, words)],
        build=built(words),
        cautions=[report.text(words)],
        dependence=[depends],
        slices=Slices("Brier score", 1, [row]),
    )


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_are_inert(words: str) -> None:
    walked, calm = (Walker(page.page(f)) for f in (hostile(words), full()))
    assert walked.tags <= ALLOWED
    assert walked.attributes == calm.attributes


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
@example("+")  # an empty list
def test_no_text_becomes_a_tag(words: str) -> None:
    text = page.page(hostile(words))
    assert Walker(text).tags <= ALLOWED
    for figure in re.findall(r"<figure>(.*?)</figure>", text):
        ElementTree.fromstring(figure)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6, allow_subnormal=False),
            st.floats(-1e6, 1e6, allow_subnormal=False),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_numbers_can_be_drawn(points: list[tuple[float, float]]) -> None:
    drawn = plots.lines("x", "y", [plots.Line("auc", points)])
    assert "nan" not in drawn and "inf" not in drawn
    ElementTree.fromstring(drawn.strip().removeprefix("<figure>")[: -len("</figure>")])


def test_a_limit_is_drawn_beside_a_single_point() -> None:
    """Of the first run of a monitor, too; a label at the end is not cut."""
    limit = plots.Line("floor", [(0, 0.5)], "limit")
    drawn = plots.lines("run", "y", [plots.Line("auc", [(0, 0.6)]), limit], ["day"])
    width = plots.WIDTH - plots.RIGHT
    assert re.search(rf'class="line limit" d="M{plots.LEFT}\.0 \S+L{width}\.0 ', drawn)
    line = plots.Line("auc", [(0, 0.6), (1, 0.7)])
    drawn = plots.lines("run", "y", [line], ["2026-06-22", "2026-06-23"])
    assert f'x="{plots.WIDTH}.0"' in drawn and 'end">2026-06-23' in drawn


def test_without_facts_nothing_is_drawn() -> None:
    assert plots.lines("x", "y", []) == plots.intervals([], "x") == ""
    assert "<figure>" not in page.page(facts(curves=None, metrics=[]))


LONG = "a name that somebody made far too long for any plot"


@pytest.mark.parametrize(
    "drawn",
    [
        plots.intervals(
            [plots.Interval(LONG, (-1, 0, 1), "+0.1, 9,999 rows")], LONG * 2
        ),
        plots.lines(LONG, "y", [plots.Line("x", [(0, 1), (29, 2)])], [LONG] * 30),
        plots.lines(
            "x", "y", [plots.Line(f"estimated {n}.712", [(0, 1)]) for n in range(3)]
        ),
    ],
)
def test_words_stay_in_the_plot_and_apart(drawn: str) -> None:
    """As wide as letters usually are; a phone shows the plot whole."""
    texts = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">(.*?)</text>', drawn
    )
    taken: dict[str, float] = {}
    for x, y, anchor, words in sorted(texts, key=lambda t: float(t[0])):
        width = len(words) * plots.LETTER
        start = float(x) - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        assert start + width <= plots.WIDTH + plots.RIGHT / 2, words
        assert start >= max(taken.get(y, -plots.RIGHT), -plots.RIGHT)
        taken[y] = start + width
