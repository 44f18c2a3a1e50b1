"""What the tests share: this repository, made-up rows, and your own rows."""

from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from mlgitops.testing import Project

PROJECT = Project(Path(__file__).parent.parent)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `estimator` once for each entry of model/estimator.py."""
    if "estimator" in metafunc.fixturenames:
        metafunc.parametrize("estimator", PROJECT.estimators, scope="session")


@pytest.fixture(scope="session")
def project() -> Project:
    """Return this repository: contract, params, and what its stages do."""
    return PROJECT


@pytest.fixture(scope="session")
def made_up(project: Project) -> pd.DataFrame:
    """Return rows that contract.yaml allows; they need no data from storage."""
    return project.made_up_rows()


@pytest.fixture(scope="session")
def fitted(project: Project, made_up: pd.DataFrame, estimator: str) -> Pipeline:
    """Return features and estimator, fitted once on the made-up rows for all tests."""
    return project.fit(made_up, estimator)


@pytest.fixture(scope="session")
def exported(project: Project, fitted: Pipeline) -> bytes:
    """Return the ONNX file of the fitted features and estimator."""
    return project.export(fitted)


@pytest.fixture(scope="session")
def rows(project: Project) -> pd.DataFrame:
    """Return your labelled rows after model/prepare.py, or skip where they are not."""
    source = project.source
    if source.exists():
        return project.labelled_rows()
    name = source.relative_to(project.root)
    if source.with_name(f"{source.name}.dvc").exists():
        pytest.skip(f"{name} is not here yet: type make pull")
    pytest.fail(f"dvc.yaml reads {name}, and there is neither it nor {name}.dvc")
