"""What /metrics says is what happened, read by Prometheus' own parser."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from machinery import tiny
from mlgitops.serving import metrics
from mlgitops.serving.metrics import Counts
from mlgitops.serving.model import Model
from mlgitops.serving.reasons import Reason

GOOD = {"carrier": "UA", "distance": 1400, "temp": 40.5}


def values(text: str) -> dict[str, float]:
    """Return each sample by its name and labels."""
    return {
        s.name + "".join(f",{k}={v}" for k, v in sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def page(port: int) -> str:
    """Return what /metrics says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        assert response.headers["content-type"].startswith("text/plain")
        return str(response.read().decode())


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    tiny.version(tmp_path / "model")
    log = str(tmp_path / "log")
    with tiny.server(tmp_path / "model", "--version", "v1", "--log", log) as (port, _):
        yield port


def test_requests_and_rows_are_counted(port: int, tmp_path: Path) -> None:
    sent = [GOOD, {**GOOD, "carrier": "ZZ", "temp": None}, {**GOOD, "distance": 1e5}]
    assert tiny.call(port, "/predict", {"rows": sent})[0] == 200
    assert tiny.call(port, "/predict", {"rows": [{"distance": 1}]})[0] == 422
    assert tiny.call(port, "/nowhere")[0] == 404
    found = values(page(port))
    assert found["model_responses_total,path=/predict,status=200"] == 1
    assert found["model_responses_total,path=/predict,status=422"] == 1
    assert found["model_responses_total,path=other,status=404"] == 1
    assert found["model_refusals_total,reason=missing_field"] == 1
    assert found["model_refusals_total,reason=not_found"] == 1
    assert found["model_refusals_total,reason=wrong_type"] == 0
    assert found["model_rows_total"] == 3
    assert found["model_unknown_categories_total,column=carrier"] == 1
    assert found["model_unknown_categories_total,column=seat"] == 0
    assert found["model_out_of_range_total,column=distance"] == 1
    assert found["model_out_of_range_total,column=temp"] == 0
    assert found["model_prediction_seconds_count"] == 1
    assert found["model_prediction_seconds_bucket,le=+Inf"] == 1
    assert found["model_log_lines,state=written"] == 3
    sha256 = Model(tmp_path / "model").manifest_sha256
    (ready,) = (v for k, v in found.items() if sha256 in k and "version=v1" in k)
    assert ready == 1


def test_a_bucket_counts_what_is_at_most_its_bound() -> None:
    counts = Counts({})
    for seconds in (0.0005, 0.0006, 0.5, 20.0):
        counts.responded("/predict", seconds)
    counts.refused("/predict", 422, Reason.WRONG_TYPE)
    info = {"log": None, "ready": False, "name": None, "version": None}
    found = values(metrics.text(counts, info | {"manifest_sha256": None}).decode())
    buckets = [
        found[f"model_prediction_seconds_bucket,le={b}"]
        for b in ("0.0005", "0.001", "1.0", "10.0", "+Inf")
    ]
    assert buckets == [1, 2, 3, 3, 4]
    assert found["model_ready,manifest_sha256=,name=,version="] == 0
    assert "model_log_lines,state=written" not in found
