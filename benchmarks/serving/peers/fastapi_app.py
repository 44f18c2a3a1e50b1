"""The flights' scikit-learn pipeline behind FastAPI, with a typed request."""

from typing import Literal

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

MODEL = joblib.load("model.joblib")
app = FastAPI()


class Row(BaseModel):
    """A flight, as contract.yaml has it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    carrier: str = Field(max_length=128)
    origin: str = Field(max_length=128)
    dest: str = Field(max_length=128)
    weekday: Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    minute: float = Field(allow_inf_nan=False)
    distance: float = Field(allow_inf_nan=False)


class Request(BaseModel):
    """Some flights."""

    rows: list[Row] = Field(min_length=1, max_length=1000)


@app.post("/predict")
def predict(request: Request) -> dict[str, list[float]]:
    """Return P(late) of each flight."""
    frame = pd.DataFrame([row.model_dump() for row in request.rows])
    return {"predictions": MODEL.predict_proba(frame)[:, 1].tolist()}
