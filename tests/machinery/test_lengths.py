"""Variants have their turn, and no kind of them is ever left out."""

import pytest

from machinery import lengths

NAMES = ["a1", "a2", "a3", "a4", "b1", "c1", "c2"]


def played(turn: int, patch: pytest.MonkeyPatch) -> list[str]:
    patch.setattr(lengths, "PROOF", False)
    patch.setattr(lengths, "TURN", turn)
    return lengths.turn(NAMES, lambda name: name[0])


@pytest.mark.parametrize("turn", [1, 2, 3, 365, 366])
def test_of_each_kind_one_is_played_each_day(
    turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name[0] for name in played(turn, monkeypatch)} == {"a", "b", "c"}
    assert len(played(turn, monkeypatch)) < len(NAMES)


def test_each_has_its_turn_within_three_days(monkeypatch: pytest.MonkeyPatch) -> None:
    days = [played(turn, monkeypatch) for turn in (7, 8, 9)]
    assert set().union(*days) == set(NAMES)


def test_a_proof_plays_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "PROOF", True)
    assert sorted(lengths.turn(NAMES, lambda name: name[0])) == NAMES
