"""Fit and export: the ONNX file answers as the fitted model, awkward rows included."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from machinery import rows
from mlgitops.pipeline import fitting as model
from mlgitops.pipeline import parity
from mlgitops.pipeline.data import ContractError, inputs

CONTRACT = rows.small()
ROWS = rows.make(CONTRACT)
COLUMNS = ["temp", "carrier", "distance"]
ARRAYS = inputs(ROWS, CONTRACT, COLUMNS)
ESTIMATORS = ["hist_gradient_boosting", "logistic_regression"]


@pytest.fixture(scope="module", params=ESTIMATORS)
def built(request: pytest.FixtureRequest) -> tuple[Any, bytes]:
    """Return each estimator, fitted and exported."""
    recipe = rows.recipe(estimator=request.param)
    fitted = model.fit(ROWS, CONTRACT, recipe)
    return fitted, model.export(fitted, CONTRACT, COLUMNS)


def test_inputs_and_output_are_as_agreed(built: tuple[Any, bytes]) -> None:
    """One [n, 1] input per column in its order; the output is probability, [n]."""
    session = onnxruntime.InferenceSession(built[1])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("temp", "tensor(float)", [None, 1]),
        ("carrier", "tensor(string)", [None, 1]),
        ("distance", "tensor(float)", [None, 1]),
    ]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("probability", "tensor(float)", [None])
    ]
    assert not any(
        t.external_data for t in onnx.load_from_string(built[1]).graph.initializer
    )


def test_a_constant_that_no_node_uses_is_no_warning(
    built: tuple[Any, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """Converters leave some; a build would print a line for each, at each loading."""
    document = onnx.load_from_string(built[1])
    spare = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "spare")
    document.graph.initializer.append(spare)
    data = document.SerializeToString()
    onnxruntime.InferenceSession(data)
    assert "Removing initializer 'spare'" in capfd.readouterr().err, "the control"
    model.score(data, ARRAYS, "probability")
    assert not capfd.readouterr().err


def test_the_order_of_opsets_is_fixed(built: tuple[Any, bytes]) -> None:
    """The converter's own order changes with the seed of Python's hashes."""
    domains = [opset.domain for opset in onnx.load_from_string(built[1]).opset_import]
    assert domains == sorted(domains)


@pytest.mark.parametrize("count", [1, 2, 2000])
def test_any_number_of_rows(built: tuple[Any, bytes], count: int) -> None:
    """One row or many, each answered on its own."""
    some = {name: array[:count] for name, array in ARRAYS.items()}
    answers = model.score(built[1], some, "probability")
    assert answers.shape == (count,) and answers.dtype == np.float32
    np.testing.assert_allclose(
        answers, model.score(built[1], ARRAYS, "probability")[:count], atol=1e-6
    )


def test_parity_with_unknown_and_missing_values(built: tuple[Any, bytes]) -> None:
    """On every row, and on every row with one value blank or unknown."""
    proof = parity.parity(built[0], built[1], ARRAYS, CONTRACT)
    assert proof["rows"] == 4000
    assert proof["max_difference"] < 1e-5
    parity.demand(proof, 1e-5)


def test_awkward_rows_are_awkward() -> None:
    """A third has each column changed: blank where it may be, or a new category."""
    changed = parity.awkward(ARRAYS, CONTRACT)
    blank, before = (np.isnan(a["temp"]).sum() for a in (changed, ARRAYS))
    assert before + 500 < blank <= before + 667  # a tenth were blank already
    assert not np.isnan(changed["distance"]).any()  # the contract needs it
    words = set(np.unique(changed["carrier"].astype(str)))
    assert words == {"AA", "B6", "UA", parity.UNKNOWN}
    assert parity.UNKNOWN not in ARRAYS["carrier"]  # the plain rows stay plain


def test_a_wrong_conversion_is_noticed(built: tuple[Any, bytes]) -> None:
    """An export of another model is not the same; the demand says so in a sentence."""
    other = model.fit(ROWS.iloc[:500], CONTRACT, rows.recipe())
    proof = parity.parity(other, built[1], ARRAYS, CONTRACT)
    assert proof["max_difference"] > 1e-3
    with pytest.raises(ContractError, match=r"differ .*limit 1e-05"):
        parity.demand(proof, 1e-5)
    with pytest.raises(ContractError):  # NaN must not pass as small
        parity.demand({"max_difference": float("nan")}, 1e-5)


def test_golden_rows_can_be_answered_again(built: tuple[Any, bytes]) -> None:
    """From JSON values alone; spread, one with all blank that may be, one unknown."""
    golden = parity.golden(built[1], ROWS, CONTRACT, COLUMNS)
    assert len(golden) == 20
    for entry, at in ((golden[0], 0), (golden[17], -1)):
        assert entry["row"]["carrier"] == ROWS["carrier"].iloc[at]
    scores = model.score(built[1], ARRAYS, "probability")
    answers = [entry["probability"] for entry in golden]
    assert np.ptp(answers) > np.ptp(scores) / 2, "they differ"
    assert golden[18]["row"]["temp"] is None
    assert golden[19]["row"]["carrier"] == parity.UNKNOWN
    for entry in golden:
        assert set(entry["row"]) == set(CONTRACT.columns)
        fed = {
            "temp": np.array([[entry["row"]["temp"]]], dtype="float32"),
            "carrier": np.array([[entry["row"]["carrier"]]], dtype=object),
            "distance": np.array([[entry["row"]["distance"]]], dtype="float32"),
        }
        answer = float(model.score(built[1], fed, "probability")[0])
        assert answer == pytest.approx(entry["probability"], abs=1e-6)


def test_it_learns_something(built: tuple[Any, bytes]) -> None:
    """The made-up target depends on the columns, so the answers must too."""
    scores = model.score(built[1], ARRAYS, "probability")
    late = ROWS["late"].to_numpy() == 1
    assert scores[late].mean() > scores[~late].mean() + 0.2


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"estimator": "forest"}, "hist_gradient_boosting or logistic_regression"),
        ({"hist_gradient_boosting": {"trees": 3}}, "boosting.trees is not an argument"),
        ({"hist_gradient_boosting": {"max_iter": -1}}, "max_iter"),
        ({"columns": ["temp", "delay"]}, "'delay'"),
        ({"hist_gradient_bosting": {}}, "did you mean hist_gradient_boosting?"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    setting: dict[str, object], words: str
) -> None:
    """That names params.yaml and the value."""
    with pytest.raises(ContractError, match=r"params\.yaml") as refused:
        model.fit(ROWS, CONTRACT, rows.recipe(**setting))
    assert words in str(refused.value)
