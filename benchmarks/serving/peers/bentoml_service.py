"""The flights' scikit-learn pipeline as a service of BentoML."""

from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1, traffic={"timeout": 30})
class Flights:
    """Will a flight be late?"""

    def __init__(self) -> None:
        """Load the model."""
        self.model = joblib.load("model.joblib")

    @bentoml.api
    def predict(self, rows: list[dict[str, Any]]) -> list[float]:
        """Return P(late) of each flight."""
        return self.model.predict_proba(pd.DataFrame(rows))[:, 1].tolist()
