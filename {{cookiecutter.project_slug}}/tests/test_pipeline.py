"""The stages of dvc.yaml run on a sample of your rows, in a temporary folder."""

import json
from pathlib import Path

import pandas as pd

from mlgitops.testing import Project


def test_pipeline_writes_a_model_and_its_metrics(
    rows: pd.DataFrame, project: Project, tmp_path: Path
) -> None:
    """That a second run gives the same bytes is what CI shows for each proposal."""
    files = project.build(project.sample(rows), tmp_path)
    assert {"model.onnx", "manifest.json", "metrics.json"} <= set(files)
    assert json.loads(files["manifest.json"])["name"] == project.contract.name
    assert json.loads(files["metrics.json"])["rows"] > 0
