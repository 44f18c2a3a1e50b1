"""Rows/s of the model alone, in one thread: what no server can pass.

    python bare.py ROWS.json, in a folder with mlgitops/ and build/

The rows are arrays already, as `rows.arrays` makes them: no body, no checks, no log.
"""

import json
import sys
import time
from pathlib import Path

from mlgitops.serving.model import Model
from mlgitops.serving.rows import arrays

SECONDS = 2.0

if __name__ == "__main__":
    model, rows = Model(Path("build")), json.loads(Path(sys.argv[1]).read_bytes())
    values = {name: [row.get(name) for row in rows] for name in model.columns}
    checked = arrays(values, model.columns, model.inputs)
    runs, began = 0, time.process_time()
    while time.process_time() - began < SECONDS:
        model.predict_arrays(checked, len(rows))
        runs += 1
    print(runs * len(rows) / (time.process_time() - began))
