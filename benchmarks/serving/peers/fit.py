"""Fits the flights' model as its users would with scikit-learn alone: model.joblib.

python fit.py FLIGHTS.parquet FOLDER

The columns, the estimator and its arguments are those of the generated repository.
"""

import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier", "origin", "dest", "weekday"]
NUMBERS = ["minute", "distance"]


def main() -> None:
    """Fit, and save with joblib, as MLflow's folder too where that is installed."""
    rows = pd.read_parquet(sys.argv[1])
    folder = Path(sys.argv[2])
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((encode, CATEGORIES), ("passthrough", NUMBERS))
    model = make_pipeline(columns, HistGradientBoostingClassifier(early_stopping=False))
    inputs = rows[[*CATEGORIES, *NUMBERS]].astype(dict.fromkeys(CATEGORIES, object))
    model.fit(inputs, rows["late"])
    joblib.dump(model, folder / "model.joblib")
    try:
        import mlflow.sklearn
    except ImportError:
        return
    trees = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    mlflow.sklearn.save_model(
        model,
        folder / "mlflow",
        input_example=inputs[:2],
        skops_trusted_types=[trees],
        pyfunc_predict_fn="predict_proba",
    )


if __name__ == "__main__":
    main()
