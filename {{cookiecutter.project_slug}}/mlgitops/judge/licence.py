"""A file that was not trained here: is it the one that is named, may it be used?

Licences are those of main's `gates.licences`, which names none until somebody adds one.
What the judge's child finds out about the file is in `mlgitops.judge.pretrained`.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from mlgitops import settings
from mlgitops.judge import checks, gates
from mlgitops.judge.identity import Manifest, ReadFile
from mlgitops.judgement import Check, Refused

FILE = "pretrained.onnx"  # in the judge's folder
ENTRY = "pretrained"  # of a manifest


def file(version: Manifest) -> str:
    """Return the path of the file that a version names, or nothing."""
    return str((version.get(ENTRY) or {}).get("file", ""))


def permitted(
    folder: Path,
    version: Manifest,
    read_file: ReadFile,
    task: str,
    released: Callable[[str], str | None],
) -> list[Check]:
    """Return the check that it is the file that is named, with a licence main allows.

    ``released`` gives the md5 of the model of a version of this project, by its tag.
    The file is left in the folder for the judge. Where none is named, no check is.

    Raises:
        Refused: the licence is not allowed, or the file is absent, or another.
    """
    if not (named := version.get(ENTRY)):
        return []
    path, licence, target = named["file"], named["licence"], folder / FILE
    main = settings.load(Path("params.yaml").read_bytes())
    allowed = gates.parse(main, task).rules.licences
    if licence not in allowed:
        listed = f"allows {', '.join(allowed)}" if allowed else "allows none"
        raise Refused(
            "pretrained",
            f"{path} has the licence {licence}, and main's gates.licences {listed}: "
            f"propose `licences: [{', '.join([*allowed, licence])}]` below gates first",
        )
    if not target.is_file():
        data = read_file(path)
        if data is None:
            reason = f"{path} is not in the proposal: commit it, or track it with DVC"
            raise Refused("pretrained", reason)
        target.write_bytes(data)
    with target.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != named["sha256"]:
        raise Refused(
            "pretrained",
            f"{path} has the sha256 {found[:12]}, and params.yaml names "
            f"{named['sha256'][:12]}: name the file that is proposed, with its licence "
            "and its source",
        )
    _check_version(path, named["source"], target, released)
    reason = f"{path}, {licence}, {named['source']}, sha256 {found[:12]}"
    if named["role"] == "model":
        reason += ": nothing was trained here"
    return [checks.passed("pretrained", reason)]


def _check_version(
    path: str, source: str, target: Path, released: Callable[[str], str | None]
) -> None:
    """Refuse a file that is not the model of the version named as its source."""
    if "@" not in source or source.startswith("https://"):
        return
    expected = released(source)
    with target.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if expected is None:
        reason = f"{source}, the source of {path}, is not a version that was released"
        raise Refused("pretrained", reason)
    if found != expected:
        reason = f"{path} is not the model of {source}, which is named as its source"
        raise Refused("pretrained", f"{reason}: copy build/model.onnx of that version")
