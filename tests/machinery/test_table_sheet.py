"""A sheet of Excel is read as the same table as CSV; what cannot be is one sentence."""

import builtins
import zipfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from machinery import tables

pytest.importorskip("duckdb")  # the group `data`
pytest.importorskip("python_calamine")
from mlgitops.table import sheet
from mlgitops.table.problem import TableError

TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    'relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>'
    "</Types>"
)
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATED = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
DATES = (  # the second style shows days since 1900 as a date
    f"<styleSheet {MAIN}><cellXfs><xf numFmtId='0'/><xf numFmtId='14'/></cellXfs>"
    "</styleSheet>"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tables.copy(tmp_path / "new"))


def cell(value: Any) -> str:
    """Return a cell's XML: of a text, a truth value, a date or a number."""
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>' if value else "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, pd.Timestamp):
        return f'<c s="1"><v>{(value - pd.Timestamp(1899, 12, 30)).days}</v></c>'
    return f"<c><v>{value}</v></c>"


def book(path: Path, **sheets: Sequence[Sequence[Any]]) -> Path:
    """Write a workbook of these sheets."""
    numbers = range(1, len(sheets) + 1)
    names = zip(sheets, numbers, strict=True)
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for name, n in names
    )
    related = "".join(
        f'<Relationship Id="r{n}" Type="{OFFICE}/worksheet" '
        f'Target="worksheets/sheet{n}.xml"/>'
        for n in numbers
    )
    related += f'<Relationship Id="s" Type="{OFFICE}/styles" Target="styles.xml"/>'
    root = f'<Relationship Id="b" Type="{OFFICE}/officeDocument" '
    root += 'Target="xl/workbook.xml"/>'
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("[Content_Types].xml", TYPES)
        file.writestr("_rels/.rels", f"<Relationships {RELATED}>{root}</Relationships>")
        text = (
            f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>'
        )
        file.writestr("xl/workbook.xml", text)
        text = f"<Relationships {RELATED}>{related}</Relationships>"
        file.writestr("xl/_rels/workbook.xml.rels", text)
        file.writestr("xl/styles.xml", DATES)
        for n, rows in zip(numbers, sheets.values(), strict=True):
            lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            text = f"<worksheet {MAIN}><sheetData>{lines}</sheetData></worksheet>"
            file.writestr(f"xl/worksheets/sheet{n}.xml", text)
    return path


def orders() -> pd.DataFrame:
    """Return a table of all types."""
    frame = tables.frame(300)
    frame["day"] = pd.date_range("2024-01-01", periods=300)
    frame["items"] = [n % 7 for n in range(300)]
    frame["city"] = [("Ghent", "", "Liège, centre")[n % 3] for n in range(300)]
    frame["code"] = [f"{n % 9:03}" for n in range(300)]
    frame["member"] = [n % 2 == 0 for n in range(300)]
    return frame


def test_a_sheet_gives_the_table_that_csv_gives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = orders()
    values = [list(frame), *(list(row) for row in frame.itertuples(index=False))]
    titled = [["Orders of 2024", *[""] * 6], *values]
    book(Path("../orders.xlsx"), notes=[["by Ada"]], orders=titled, more=values)
    frame.to_csv("../orders.csv", index=False)
    found = []
    for file in ("../orders.csv", "../orders.xlsx"):
        assert not tables.make(file, "y", force=True)
        found.append((tables.contract(), tables.table()))
    assert found[0][0] == found[1][0]
    pd.testing.assert_frame_equal(found[0][1], found[1][1])
    kinds = {n: column["type"] for n, column in found[0][0]["columns"].items()}
    assert kinds["items"] == "integer" and kinds["code"] == "category"
    assert found[0][0]["time"] == "day" and found[0][1]["city"].isna().sum() == 100
    out = capsys.readouterr().out
    assert "the sheet orders (not more" in out


def test_the_sheet_with_the_target_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    frame = tables.frame(150)
    values = [list(frame), *(list(row) for row in frame.itertuples(index=False))]
    notes = [["source", "Ada"], ["made in", "2024"], ["licence", "CC0"]]
    book(Path("../two.xlsx"), notes=notes, rows=values, more=values)
    assert not tables.make("../two.xlsx", "y")
    assert "the sheet rows (not notes, more" in capsys.readouterr().out
    refusal = tables.make("../two.xlsx", "z", force=True)
    assert "read was two.xlsx: the sheet notes (not rows, more" in refusal


def test_what_cannot_be_read_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("../broken.xlsx").write_bytes(b"PK")
    book(Path("../empty.xlsx"), a=[], b=[["x"]])
    for name, words in (("broken", "cannot be read"), ("empty", "no sheet with rows")):
        with pytest.raises(TableError, match=words):
            tables.make(f"../{name}.xlsx", "y")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "python_calamine":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TableError, match="as CSV"):
        tables.make("../empty.xlsx", "y")


def test_a_duration_is_a_number_of_seconds() -> None:
    row = [timedelta(hours=30), 3.0, "x", date(2026, 1, 2)]
    assert list(sheet._written(row)) == ["108000", "3", "x", "2026-01-02"]
