"""Answers a share of the rows by a challenger: a canary.

Which rows is decided by a hash of the id, so that an id always gets the same version;
the challenger's manifest is hashed with it, so that the next canary has other rows. The
champion predicts every row first: where the challenger refuses, fails or is late, its
prediction is the answer. After a few such faults, or one that is late, the canary ends.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mlgitops.prediction_log import in_share, is_golden
from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.predictions import Prediction
from mlgitops.serving.rows import Rows
from mlgitops.serving.verify import VerifyError

FAULTS = 5  # requests whose rows the champion had to answer, before the canary ends
SECONDS = 0.25  # that a request waits for the challenger


class Canary:
    """A challenger with a share of the rows; no fault of it is in a response."""

    def __init__(
        self,
        folder: Path,
        share: float,
        champion: Model,
        version: str | None = None,
        expected_sha256: str | None = None,
        until: float | None = None,
    ) -> None:
        """Verify and load the challenger; `reason` says why it does not answer.

        `until` is when it ends by itself, in seconds since 1970.
        """
        self.share, self.version, self.reason = share, version, ""
        self.until = until
        self.rows = self.faults = 0  # answered; requests that it could not answer
        self.hangs = False
        self.model: Model | None = None
        self.sensitive: frozenset[str] = frozenset()  # columns that no log gets
        self._pool = ThreadPoolExecutor(1, "canary")
        try:
            model = Model(folder, expected_sha256)
            model.check_golden()
        except (VerifyError, ModelError) as error:
            self.reason = str(error)
            return
        if model.manifest_sha256 == champion.manifest_sha256:
            self.reason = "it is the champion's own version: name a challenger."
            return
        kinds = [(m.task, m.classes) for m in (champion, model)]
        if kinds[0] != kinds[1]:
            self.reason = "its task or its classes are not those of the champion."
            return
        if _fields(champion) != _fields(model):
            self.reason = "its answers have intervals, or null, where others have none."
            return
        self.model, self.sensitive = model, model.sensitive

    def chooses(self, row_id: object) -> bool:
        """Return whether a row is the challenger's, by its id and the manifest.

        A golden row is not: a deployment asks it of the champion, and would take that
        one back for the challenger's answer.
        """
        if self.model is None or is_golden(str(row_id)):
            return False
        return in_share(self.model.manifest_sha256, row_id, self.share)

    async def replace(
        self, rows: Rows, ids: Sequence[object], predictions: list[Prediction]
    ) -> str | None:
        """Put the challenger's predictions in the place of the champion's.

        Returns its manifest's sha256 where each row that is its own got one.
        """
        if self.until is not None and time.time() > self.until:
            self.reason = self.reason or "its hours are over."
        if self.model is None or self.reason:
            return None
        sha256 = self.model.manifest_sha256
        chosen = [index for index, row_id in enumerate(ids) if self.chooses(row_id)]
        if not chosen:
            return sha256
        part, names = [rows[n] for n in chosen], [ids[n] for n in chosen]
        loop, predict = asyncio.get_running_loop(), self.model.predictions
        work = loop.run_in_executor(self._pool, predict, part, names)
        try:
            outputs = await asyncio.wait_for(work, SECONDS)
        except TimeoutError:
            self.hangs = True
            self._fault(f"it took more than {SECONDS:g} s for a request.", FAULTS)
            return None
        except Exception as error:  # whatever a version does, the champion answers
            self._fault(f"{FAULTS} requests failed, the last one: {error}")
            return None
        identity = {"manifest_sha256": sha256, "version": self.version}
        for index, prediction in zip(chosen, outputs, strict=True):
            predictions[index] = (
                prediction | identity
            )  # the log's line has it from here
        self.rows += len(chosen)
        return sha256

    def state(self) -> dict[str, Any]:
        """Return what it is, whether it answers, and how often it did."""
        return {
            "manifest_sha256": self.model and self.model.manifest_sha256,
            "version": self.version,
            "share": self.share,
            "of": "rows of /predict in JSON",
            "answers": self.model is not None and not self.reason,
            "reason": self.reason,
            "rows": self.rows,
            "faults": self.faults,
        }

    def _fault(self, reason: str, weight: int = 1) -> None:
        """Count a fault, and end the canary when there were enough."""
        self.faults += weight
        if self.faults >= FAULTS:
            self.reason = self.reason or reason


def _fields(model: Model) -> tuple[bool, bool]:
    """Return what its answers have beside a prediction: an interval, null."""
    stated = model.manifest.get("intervals") or {}
    return bool(stated), bool(stated.get("abstain"))
