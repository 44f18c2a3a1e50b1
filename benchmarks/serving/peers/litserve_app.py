"""The flights' scikit-learn pipeline behind LitServe: python litserve_app.py PORT."""

import sys
from typing import Any

import joblib
import litserve
import pandas as pd


class Flights(litserve.LitAPI):
    """Will a flight be late?"""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = joblib.load("model.joblib")

    def decode_request(self, request: dict[str, Any]) -> pd.DataFrame:
        """Return the flights of a request."""
        return pd.DataFrame(request["rows"])

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return P(late) of each flight."""
        return self.model.predict_proba(frame)[:, 1]

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        """Return them as JSON."""
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Flights(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
