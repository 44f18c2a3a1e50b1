"""What `make data` shows while it runs, on a terminal, and its page at any width."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from machinery import tables

pytest.importorskip("duckdb")  # the group `data`
SLOW = (  # some seconds of the one core that it gets
    "select count(*) from range(30000) a, range(20000) b "
    "where hash(a.range + b.range) % 7 = 1"
)
RUN = f"""
from pathlib import Path
from mlgitops.table import engine
connection = engine.connect(Path("scratch"))
connection.execute("set threads = 1")
table = engine.Table(connection, (), "", (), engine.bar)
table.run("Counting", "{SLOW}")
print("4 rows")
"""
NARROW = """
[...document.querySelectorAll("td")].filter(
  cell => cell.innerText.length > 8 && cell.getBoundingClientRect().width < 80
).map(cell => cell.innerText)
"""


def shown(written: str) -> list[str]:
    """Return the lines that a terminal shows: after a return it writes over them."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen.rstrip())
    return lines


def on_a_terminal(folder: Path) -> str:
    """Return what a run that takes long writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(tables.ROOT), "PYTHONUTF8": "1"}
    command = (sys.executable, "-c", RUN)
    to = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, cwd=folder, env=environment, **to)  # type: ignore[call-overload]
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 4096):
            parts.append(part)
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_a_bar_is_drawn_on_a_terminal_and_leaves_nothing(tmp_path: Path) -> None:
    written = on_a_terminal(tmp_path)
    assert "Counting [" in written and "%" in written
    assert shown(written) == ["4 rows", ""]


def test_nothing_of_a_bar_lands_in_a_pipe(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tables.ROOT)}
    command = (sys.executable, "-c", RUN)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"4 rows\n", b"")


@pytest.mark.parametrize("width", [390, 1280])
def test_every_cell_of_the_page_has_room_for_its_words(
    width: int, tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tables.copy(tmp_path / "new"))
    frame = tables.frame(400, colour=["red", "green"] * 200)
    frame["discount"] = [f"{n % 9} %" for n in range(400)]
    frame["a name of more letters than a narrow column has"] = frame["x"] * 2
    frame.to_csv("../shop.csv", index=False)
    assert not tables.make("../shop.csv", "y", types="discount=number")
    browser.open(Path("build/data.html").resolve(), width)
    assert browser.evaluate(NARROW) == []
    assert browser.evaluate("document.documentElement.scrollWidth") == width
