"""Each planted proposal changes code that is there: else it plants nothing.

`test_planted` plays them in turns, and takes minutes.
"""

from pathlib import Path

import pytest

from machinery import planted

OURS = sorted({p for p in planted.PLACES if p[0].startswith(("mlgitops/", "model/"))})


def test_there_are_places() -> None:
    assert len(OURS) > 10


@pytest.mark.parametrize(("name", "text"), OURS)
def test_what_a_plant_replaces_is_there(name: str, text: str) -> None:
    assert text in Path(name).read_text(), f"{name} has changed: plant it anew"
