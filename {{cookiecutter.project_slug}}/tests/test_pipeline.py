"""The stages of dvc.yaml run on a sample of your rows, in a temporary folder."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from mlgitops.testing import Project


@pytest.fixture(scope="module")
def runs(
    rows: pd.DataFrame, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, bytes]]:
    """The files of build/ after two runs of all stages, side by side."""
    sample = project.sample(rows)
    folders = [tmp_path_factory.mktemp("run") for _ in range(2)]

    def run(folder: Path) -> dict[str, bytes]:
        return project.build(sample, folder)

    with ThreadPoolExecutor() as both:
        return list(both.map(run, folders))


def test_pipeline_writes_a_model_and_its_metrics(
    runs: list[dict[str, bytes]], project: Project
) -> None:
    first = runs[0]
    assert {"model.onnx", "manifest.json", "metrics.json"} <= set(first)
    assert json.loads(first["manifest.json"])["name"] == project.contract.name
    assert json.loads(first["metrics.json"])["rows"] > 0


def test_second_run_gives_the_same_bytes(runs: list[dict[str, bytes]]) -> None:
    first, second = runs
    assert first == second
