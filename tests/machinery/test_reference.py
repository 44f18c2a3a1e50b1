"""docs/reference.md says what the code of the machinery says."""

import importlib.util
from pathlib import Path

import pytest

from mlgitops.pipeline.settings import SECTIONS
from mlgitops.settings import Monitor

pytest.importorskip("sklearn")
DOCS = Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
assert SPEC and SPEC.loader
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


def test_the_page_is_what_the_code_says() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert text == reference.page(), "type `make docs`"


def test_no_section_is_left_out() -> None:
    assert set(reference.SECTIONS) == set(SECTIONS)


def test_a_setting_has_its_limits_and_reason() -> None:
    reasons = {"every_days": "once a week"}
    rows = list(reference._keys(Monitor, reasons))
    (row,) = (row for row in rows if row.startswith("| `every_days` "))
    assert "between 0.01 and 366" in row and "required" in row and "once a week" in row
