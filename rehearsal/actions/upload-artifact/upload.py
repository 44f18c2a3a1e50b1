"""Zips files as actions/upload-artifact does, into the folder that the forge reads."""

import glob
import hashlib
import os
import zipfile
from pathlib import Path


def chosen(lines: list[str], hidden: bool) -> tuple[list[Path], Path]:
    """Return the files that the patterns name, and the folder their names begin at."""
    files: set[Path] = set()
    roots: list[Path] = []
    for line in lines:
        pattern = line.removeprefix("!")
        matches = [
            Path(p) for p in glob.glob(pattern, recursive=True, include_hidden=True)
        ]
        below = {f for p in matches for f in ([p] if p.is_file() else p.rglob("*"))}
        below = {f.absolute() for f in below if f.is_file()}
        if line.startswith("!"):
            files -= below
            continue
        files |= below
        fixed = Path(pattern.split("*")[0])
        roots.append((fixed if fixed.is_dir() else fixed.parent).absolute())
    root = Path(os.path.commonpath(roots or [Path.cwd()]))
    if not hidden:
        dotted = {
            f for f in files if any(p[0] == "." for p in f.relative_to(root).parts)
        }
        files -= dotted
    return sorted(files), root


def main() -> None:
    """Write the zip; an artifact's name is used once unless it is overwritten."""
    name, missing = os.environ["NAME"], os.environ["MISSING"]
    lines = [s.strip() for s in os.environ["PATHS"].splitlines() if s.strip()]
    files, root = chosen(lines, os.environ["HIDDEN"] == "true")
    target = Path(os.environ["FORGE_ARTIFACTS"], f"{name}.zip")
    if not files:
        sentence = f"No files were found with the provided path: {' '.join(lines)}"
        print(f"::{'error' if missing == 'error' else 'warning'}::{sentence}")
        raise SystemExit(missing == "error")
    if target.exists() and os.environ["OVERWRITE"] != "true":
        raise SystemExit(f"Conflict: an artifact with the name {name} already exists")
    level = int(os.environ["LEVEL"])
    with zipfile.ZipFile(
        target, "w", zipfile.ZIP_DEFLATED, compresslevel=level
    ) as zipped:
        for file in files:
            zipped.write(file, file.relative_to(root))
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as output:
        output.write(f"digest={digest}\n")
    print(f"Artifact {name}: {len(files)} files, sha256 {digest}")


if __name__ == "__main__":
    main()
