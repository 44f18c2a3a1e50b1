"""Loads a version and checks its golden rows, in a process of its own.

python -m mlgitops.serving.smoke FOLDER [SHA256 of manifest.json]
"""

import sys
import time

from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.verify import VerifyError


def main() -> None:
    """Verify, load, predict the golden rows; exit 1 with a sentence when it fails."""
    arguments = sys.argv[1:]
    if not 1 <= len(arguments) <= 2:
        raise SystemExit("usage: python -m mlgitops.serving.smoke FOLDER [SHA256]")
    started = time.perf_counter()
    try:
        model = Model(arguments[0], arguments[1] if arguments[1:] else None)
        difference = model.check_golden()
    except (VerifyError, ModelError) as error:
        raise SystemExit(f"refused: {error}") from None
    print(
        f"ok {model.name} {model.manifest_sha256}: {len(model.manifest['golden'])} "
        f"golden rows predicted, differing by at most {difference:.1e}, "
        f"in {time.perf_counter() - started:.2f} s"
    )


if __name__ == "__main__":
    main()
