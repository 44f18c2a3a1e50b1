"""A wide table is judged and explained in memory that grows with its columns."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from machinery.judged import CONTRACT, params
from machinery.test_report import facts
from machinery.test_validate import Bench, linear
from mlgitops.judge import columns, edges, evaluation, explain, flips, gates
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judgement import Importance
from mlgitops.pipeline.contract import Contract
from mlgitops.report.sections import reasons

WIDTH = 24
SAMPLE = 400  # rows that are shuffled here


def wide(tmp_path: Path, width: int = WIDTH) -> Evaluation:
    """Return two models of many columns, of which the first alone decides."""
    names = [f"n{number}" for number in range(width)]
    number = {"type": "number", "min": -10, "max": 10, "missing": False}
    terms: dict[str, Any] = {**CONTRACT, "columns": dict.fromkeys(names, number)}
    random, bench = np.random.default_rng(0), Bench(tmp_path)
    values = random.normal(size=(len(bench.frame), width)).astype("float32")
    values[:, 0] = bench.frame["price"]
    table = pd.DataFrame(values, columns=names)
    bench.frame = pd.concat(
        [bench.frame[["order", "placed", "returned"]], table], axis=1
    )
    wanted = params(["price"])
    contract = Contract.parse(terms)
    models = []
    for name, weight in (("champion", 0.5), ("challenger", 1.5)):
        bench.put(
            name, linear({**dict.fromkeys(names, 0.0), "n0": weight}), terms=terms
        )
        model = evaluation.read_model(tmp_path / name)
        assert model
        evaluation.score(model, bench.frame, contract)
        models.append(model)
    return Evaluation(
        contract=contract,
        params=wanted,
        gates=gates.parse(wanted, "binary"),
        holdout=bench.frame,
        challenger=models[1],
        champion=models[0],
        rows=bench.frame,
    )


def test_what_explains_a_model_grows_with_its_columns_not_their_square(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, sizes, write = wide(tmp_path), [], columns.write

    def measured(file: Path, *arguments: Any) -> None:
        write(file, *arguments)
        sizes.append(file.stat().st_size)

    monkeypatch.setattr(columns, "write", measured)
    monkeypatch.setattr(explain, "SAMPLE", SAMPLE)
    explain.add(context)
    flips.add(context)
    table = SAMPLE * WIDTH * 4  # bytes of the sample, each number of four
    assert len(sizes) == 5 and max(sizes) < 20 * table  # 169 times before
    found = context.judgement
    assert found.importance[0].column == "n0" and len(found.importance) == WIDTH
    assert found.importance[0].challenger[0] > 0.05
    assert found.importance[1].challenger == (0, 0, 0)
    assert found.dependence[0].column == "n0"
    assert {reason.column for flip in found.flips for reason in flip.reasons[:1]} == {
        "n0"
    }


def test_of_very_many_columns_fewer_rows_are_shuffled() -> None:
    cells = [explain.rows(width) * width for width in (10, 100, 1_000)]
    assert cells == [20_000, explain.CELLS, explain.CELLS]
    assert explain.rows(100_000) == explain.FEWEST


def test_a_change_is_predicted_as_the_table_with_that_change(tmp_path: Path) -> None:
    """Numbers and texts; in any order of rows, and several times."""
    table = {
        "price": np.arange(6, dtype=np.float32).reshape(-1, 1),
        "shop": np.array(list("abcabc"), object).reshape(-1, 1),
    }
    order, first = np.array([3, 1, 4]), np.array([0, 0, 0])
    changes = [
        columns.Change("shop", order, first),
        columns.Change("price", order, order),
        columns.Change("price", np.arange(6), np.arange(6)[::-1]),
    ]
    columns.write(tmp_path / "inputs.npz", table, changes)
    read, _ = columns.read(tmp_path / "inputs.npz")
    again = list(columns.changes(tmp_path / "inputs.npz"))
    assert [c.column for c in again] == ["shop", "price", "price"]
    for change, other in zip(changes, again, strict=True):
        assert np.array_equal(change.rows, other.rows)
        assert np.array_equal(change.source, other.source)
    assert read["shop"].ravel().tolist() == list("abcabc")


def test_the_edges_of_a_wide_table_take_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edges, "MOST", 20_000)
    names = [f"n{number}" for number in range(100)]
    number = {"type": "number", "min": -10, "max": 10, "missing": False}
    contract = Contract.parse({**CONTRACT, "columns": dict.fromkeys(names, number)})
    sample: list[edges.Row] = [dict.fromkeys(names, 0.5)] * 3
    constants = list(np.linspace(-9, 9, 1_000))
    cases = list(edges.cases(contract, names, sample, (constants, [])))
    assert len(cases) <= edges.MOST + edges.RANDOM + 4
    own = [len(case.row.maps[0]) for case in cases]
    assert sorted(own)[len(own) // 2] == 1, "the rest is the sample's"
    lows = {case.row["n99"] for case in cases} & {-10.0, 10.0}
    assert lows == {-10.0, 10.0} and dict(cases[0].row).keys() == set(names)


def test_the_report_names_the_foremost_columns_and_counts_the_rest() -> None:
    columns = [
        Importance(column=f"n{n}", challenger=(1 / (n + 1), 0.0, 1.0))
        for n in range(1_000)
    ]
    text = reasons.importance(facts(importance=columns))
    assert "n29" in text and "n30" not in text
    assert "970 more columns: 0.0323 at most" in text
    assert "more columns" not in reasons.importance(facts(importance=columns[:30]))
