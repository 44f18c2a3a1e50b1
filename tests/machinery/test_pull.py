"""`make pull` brings data and the model that belongs here; `make push` sends data."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from machinery.world import World, git, registered, roll_out, world
from mlgitops import storage
from mlgitops.commands import pull, push
from mlgitops.lock import Out

MD5 = "827ccb0eea8a706c4c34a16891f84e7b"  # of 12345
POINTER = f"outs:\n- md5: {MD5}\n  size: 5\n  path: flights.parquet\n"
DATA = "data/flights.parquet"
MODEL = ["build/model.onnx", "build/manifest.json"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository with data, whose transfers are noted in `moved`."""
    with world(tmp_path, monkeypatch) as made:
        (made.clone / ".dvc").mkdir()
        config = "['remote \"storage\"']\n    url = ../../store\n"
        (made.clone / ".dvc/config").write_text(config)
        (made.clone / "data").mkdir()
        (made.clone / f"{DATA}.dvc").write_text(POINTER)
        made.commit("data")
        yield made


def pulled(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that `make pull` brings."""
    moved: list[str] = []

    def bring(outs: Iterable[Out]) -> None:
        moved.extend(out.path for out in outs)

    with patch.context() as place:
        place.setattr(storage, "pull", bring)
        pull.main()
    return moved


def test_before_a_version_there_is_only_data(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("dvc.lock").write_text("mine")
    assert pulled(monkeypatch) == [DATA]
    assert Path("dvc.lock").read_text() == "mine"


def test_the_version_that_head_builds_is_brought(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On main the one that main names, with its lock; at a tag that of the tag."""
    here.judged("one")
    first = here.lock
    roll_out()
    here.judged("two")
    roll_out()
    assert pulled(monkeypatch) == [DATA, *MODEL]
    assert Path("dvc.lock").read_bytes() == here.lock != first
    Path("dvc.lock").unlink()
    git("checkout", "-q", "flights@v1.0.0")
    assert Path("dvc.lock").read_bytes() == first
    assert pulled(monkeypatch) == [DATA, *MODEL]
    assert git("status", "--porcelain") == "", "it is that of the tag"


def test_a_tag_brings_its_own_version(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was registered and never released, when production has another."""
    here.judged("one")
    roll_out()
    here.judged("two")
    registered()
    git("checkout", "-q", "flights@v1.1.0")
    assert pulled(monkeypatch) == [DATA, *MODEL]
    assert Path("dvc.lock").read_bytes() == here.lock
    assert git("status", "--porcelain") == ""


def test_changed_data_is_not_replaced(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nowhere else: who replaces the file may not have tracked it yet."""
    Path(DATA).write_text("newer rows")
    with pytest.raises(SystemExit, match=f"{DATA} was changed here.*dvc add {DATA}"):
        pulled(monkeypatch)
    assert Path(DATA).read_text() == "newer rows"
    Path(DATA).unlink()
    assert pulled(monkeypatch) == [DATA], "the control"


def test_a_change_starts_from_production(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.judged("one")
    roll_out()
    Path("dvc.yaml").write_text('{"stages": {"train": {"cmd": "another"}}}')
    git("switch", "-q", "-c", "change")
    git("commit", "-qam", "change")
    assert pulled(monkeypatch) == [DATA, *MODEL]
    assert Path("dvc.lock").read_bytes() == here.lock


def test_only_data_is_pushed(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was built here never enters storage: CI builds it, and judges that."""
    here.model("one")
    Path("dvc.lock").write_bytes(here.lock)
    Path("build").mkdir()
    Path(MODEL[0]).write_text("one")
    Path(DATA).write_text("other rows")
    with pytest.raises(SystemExit, match=f"`dvc add {DATA}` and commit"):
        push.main()
    Path(DATA).write_text("12345")
    sent: list[str] = []
    monkeypatch.setattr(storage, "push", lambda files: sent.extend(map(str, files)))
    push.main()
    assert sent == [DATA]


def test_what_storage_lost_of_a_version_is_sent_back(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its own bytes: another model, built here, is not sent."""
    here.judged("one")
    roll_out()
    Path(DATA).write_text("12345")
    Path("build").mkdir()
    Path(MODEL[0]).write_text("one")
    Path(MODEL[1]).write_text("of another model")
    sent: list[str] = []
    monkeypatch.setattr(storage, "push", lambda files: sent.extend(map(str, files)))
    push.main()
    assert sent == [DATA, MODEL[0]]
    sent.clear()
    monkeypatch.setattr(storage, "missing", lambda outs: [])
    push.main()
    assert sent == [DATA], "the control"
