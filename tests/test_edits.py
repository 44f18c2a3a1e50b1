"""A value is set by its key: all else stays, and a missing key is an error."""

from pathlib import Path

import pytest

from rehearsal.edits import (
    EditError,
    add_items,
    add_key,
    read_value,
    remove_key,
    set_value,
)

TEXT = """# first
train: # why
  estimator: trees # or lines
  columns: # in order
    - a # one
    - b # two
  empty: []
steps:
  - uses: x
  - name: Build
    run: make # all
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    return path


def test_a_value_is_set_and_its_comment_stays(file: Path) -> None:
    set_value(file, ("train", "estimator"), "lines")
    assert file.read_text() == TEXT.replace("estimator: trees", "estimator: lines")


def test_a_key_is_added_below_the_last_one(file: Path) -> None:
    add_key(file, ("train",), "seed", "{a: 1}")
    after = TEXT.replace("  empty: []\n", "  empty: []\n  seed: {a: 1}\n")
    assert file.read_text() == after
    with pytest.raises(EditError, match="has seed already"):
        add_key(file, ("train",), "seed", "2")
    with pytest.raises(EditError, match="not a mapping"):
        add_key(file, ("steps",), "seed", "2")


def test_a_key_is_added_below_a_last_one_that_has_keys_itself(file: Path) -> None:
    file.write_text("a:\n  b:\n    c: 1 # one\n\n# what follows\nd: 2\n")
    add_key(file, ("a",), "e", "3")
    added = "a:\n  b:\n    c: 1 # one\n  e: 3\n\n# what follows\nd: 2\n"
    assert file.read_text() == added


def test_a_key_is_removed_with_its_line(file: Path) -> None:
    remove_key(file, ("train",), "estimator")
    assert file.read_text() == TEXT.replace("  estimator: trees # or lines\n", "")
    for keys, name in ((("train",), "model"), (("train",), "columns")):
        with pytest.raises(EditError, match=name):
            remove_key(file, keys, name)


def test_items_are_added_below_the_last_one(file: Path) -> None:
    add_items(file, ("train", "columns"), ["c", "d"])
    after = TEXT.replace("- b # two\n", "- b # two\n    - c\n    - d\n")
    assert file.read_text() == after
    assert read_value(file, ("train", "columns")) == ["a", "b", "c", "d"]


def test_a_step_of_a_job_is_found_by_its_name(file: Path) -> None:
    set_value(file, ("steps", "Build", "run"), "make && echo '{\"a\":true}' > b")
    run = "make && echo '{\"a\":true}' > b"
    assert read_value(file, ("steps", "Build", "run")) == run
    assert file.read_text().endswith(" > b # all\n")


@pytest.mark.parametrize("keys", [("train", "model"), ("steps", "Test", "run"), ("x",)])
def test_a_key_that_is_not_there_is_an_error(file: Path, keys: tuple[str, ...]) -> None:
    with pytest.raises(EditError, match=keys[-1] if len(keys) < 3 else "Test"):
        set_value(file, keys, "x")
    assert file.read_text() == TEXT


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("estimator", "trees"),  # nothing would change
        ("columns", "c"),  # not a value
        ("estimator", "a: b"),  # would be read as something else
        ("estimator", "lines # so"),
    ],
)
def test_a_value_that_cannot_be_set_is_an_error(
    file: Path, key: str, value: str
) -> None:
    with pytest.raises(EditError):
        set_value(file, ("train", key), value)
    assert file.read_text() == TEXT


@pytest.mark.parametrize(
    ("key", "item"), [("columns", "a"), ("empty", "a"), ("estimator", "a")]
)
def test_items_that_cannot_be_added_are_an_error(
    file: Path, key: str, item: str
) -> None:
    with pytest.raises(EditError):
        add_items(file, ("train", key), [item])
    assert file.read_text() == TEXT
