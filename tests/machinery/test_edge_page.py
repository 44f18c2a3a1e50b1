"""The commands of docs/edge.md, typed in their order by a repository and a device."""

import contextlib
import io
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from machinery.test_edge_update import bundle_of, in_process, key
from machinery.world import World, roll_out, world
from mlgitops.commands import edge, rollback
from mlgitops.edge import update
from mlgitops.release import assets

PAGE = Path(__file__).parents[2] / "docs/edge.md"


class Typist:
    """Types commands: those of the repository there, those of the device here."""

    def __init__(
        self, here: World, device: Path, private: Path, patch: pytest.MonkeyPatch
    ) -> None:
        self.here, self.device, self.patch = here, device, patch
        self.private = private
        text = PAGE.read_text(encoding="utf-8")
        self.blocks = re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S)

    def type(self, block: int) -> list[str]:
        """Type a block and return what each of its commands printed."""
        return [self.line(line) for line in self.blocks[block].splitlines()]

    def line(self, line: str) -> str:
        """Type one command and return what it printed."""
        words, rows = shlex.split(line), ""
        if words[-2:-1] == ["<"]:
            words, rows = words[:-2], (self.device / words[-1]).read_text()
        if words[0] == "cp":
            shutil.copy(self.device / words[1], self.device / words[2])
            return ""
        if words[0] == "make":
            given = dict(word.split("=", 1) for word in words[2:])
            assert words[1] == "rollback"
            rollback.rollback("production", given["VERSION"], given["REASON"])
            return ""
        if words[0] == "python3":
            assert (self.device / words[1]).is_file()
            return self.run(update.main, words[1:], self.device, rows)
        assert words[:4] == ["python", "-m", "mlgitops", "edge"]
        with self.patch.context() as patch:  # what signs is where a folder is written
            public = self.here.clone / "signing.pub"
            shutil.copy(self.device / public.name, public)
            patch.setenv("SIGNING_KEY", self.private.read_text())
            printed = self.run(edge.main, words[3:], self.here.clone)
            public.unlink()
        return printed

    def run(self, main: Any, words: list[str], folder: Path, rows: str = "") -> str:
        """Run a program in a folder; one that ends with an error fails the test."""
        printed = io.StringIO()
        home = ["--home", str(folder)] if main is update.main else []
        self.patch.setattr(sys, "argv", [words[0], *home, *words[1:]])
        self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows.encode())))
        with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
            try:
                main()
            except SystemExit as end:
                assert not end.code, (words, end)
        return printed.getvalue()


def release(here: World, text: str) -> None:
    """Release a version with its bundle."""
    here.judged(text)
    released = assets.find(roll_out().tag)
    assert released
    (manifest,) = (a for a in released["assets"] if a["name"] == "manifest.json")
    assert assets.download(manifest)
    assets._upload(released, "m-edge.zip", bundle_of(released["tag_name"]))


def test_the_pages_commands_set_up_update_take_back_and_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(update, "check", in_process)
    private = key(tmp_path, "ours")
    monkeypatch.delenv("SIGNING_KEY", raising=False)
    (tmp_path / "world").mkdir()
    with world(tmp_path / "world", monkeypatch) as here:
        device = here.clone.parent / "device"
        device.mkdir()
        shutil.copy(f"{private}.pub", device / "signing.pub")
        (device / "rows.json").write_text('{"rows": [{}]}')
        (here.clone.parent / "reports").mkdir()
        page = Typist(here, device, private, monkeypatch)
        assert len(page.blocks) == 5
        release(here, "one")
        (said,) = page.type(0)
        assert "v1.0.0 for production" in said
        *_, looked, _ = page.type(1)
        assert json.loads(looked)["version"] == "v1.0.0"
        *_, counted = capfd.readouterr().out.splitlines()
        assert json.loads(counted)["n"] == 1, "rows were predicted"
        release(here, "two")
        _, looked, status = page.type(2)
        assert (
            json.loads(looked)["version"] == json.loads(status)["version"] == "v1.1.0"
        )
        (counted,) = page.type(4)
        assert counted.startswith("1 devices, 1 of them")
        page.type(3)
        *_, status = page.type(2)
        assert json.loads(status)["version"] == "v1.0.0"
        assert update.state_of(device).withdrawn
        (counted,) = page.type(4)
        assert "1 of them run what they should" in counted
