"""Moves data, models and versions to other storage, and verifies every object.

    python -m mlgitops storage --to s3://bucket/folder --dry-run
    python -m mlgitops storage --to s3://bucket/folder --login FILE

(make storage TO=s3://bucket/folder LOGIN=file DRY=1). FILE has the login to the new
storage, written as .dvc/config.local is; without one, the cloud's own programs say who
you are. It copies all objects of the old storage, among them those of every version,
branch and verdict, reads each back, and only then writes .dvc/config. The old storage
keeps everything. Type the same command again after it broke off, and once the change of
.dvc/config is merged: it then brings what the workflows stored in between.
"""

import argparse
import io
import os
from importlib.util import find_spec
from pathlib import Path

from mlgitops import lock, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.commands.secrets import secrets_in
from mlgitops.storage import StorageError
from mlgitops.store import logs, move, named, objects, owner, switch
from mlgitops.store.objects import Objects

LOCKS = "mlgitops/requirements"


def main() -> None:
    """Move, and print what was done and what to type next."""
    parser = argparse.ArgumentParser(
        prog="python -m mlgitops storage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--to", required=True, help="the address of the new storage")
    parser.add_argument("--login", type=Path, help="a file like .dvc/config.local")
    parser.add_argument("--log", default="", help="a prediction log to bring along")
    parser.add_argument("--dry-run", action="store_true", help="only say what to copy")
    parser.add_argument(
        "--without-absent",
        action="store_true",
        help="go on where objects that are named are lost already",
    )
    args = parser.parse_args()
    with expected_errors("", OSError):
        for sentence in relocate(
            args.to, args.login, args.log, args.dry_run, args.without_absent
        ):
            print(sentence, flush=True)


def relocate(
    to: str, login_file: Path | None, log: str, dry_run: bool, without_absent: bool
) -> list[str]:
    """Move storage to an address; return what was done, as sentences.

    Raises:
        StorageError: what failed; storage is then still the old one.
    """
    address = checked(to)
    if dry_run and switch.NEXT.is_dir():
        raise StorageError(
            "an earlier move broke off while it wrote .dvc/config, and --dry-run "
            "changes nothing: type the command of that move again, without DRY=1"
        )
    finished = switch.finish()
    config = switch.settings(address, login_file)
    again = absolute(address) == storage.url()
    if again and login_file is None:
        config = storage.settings_in(Path(".dvc"))
    source = _source(again)
    target = _opened(config, absolute(address), "target")
    plan = move.plan(source, target, named.everywhere())
    said = [f"from {source.shown} to {target.shown}: {plan}"]
    if not without_absent:
        move.refuse_absent(plan.absent)
    if dry_run:
        return [*said, "nothing was copied, as --dry-run says"]
    copied = move.transfer(source, target, plan.sizes)
    said.append(f"{lock.objects(copied)} copied, {len(plan.sizes)} read back and right")
    if log:
        files, place = logs.bring(*storage.filesystem(log), target)
        said.append(
            f"prediction log: {files} files copied; type `gh variable set "
            f"PREDICTION_LOG --body {place}`"
        )
    owner.claim(target)
    if again and not finished:
        return said
    if not again:
        switch.keep()
        switch.write(config, _secret(config))
    return [
        *said,
        f".dvc/config names {target.shown} now; the old settings are in "
        f"{switch.BEFORE}, and {source.shown} keeps everything",
        "next: `make setup`, `python -m mlgitops logins`, `make doctor`; commit "
        ".dvc/config and merge it, then type the same command again, which brings what "
        "the workflows stored in between",
    ]


def checked(to: str) -> str:
    """Return the address as .dvc/config has it.

    Raises:
        StorageError: it is a branch, has a login in it, or its packages are absent.
    """
    kind, separator, rest = to.partition("://")
    if to == "branch" or not to.strip("/"):
        raise StorageError(
            "--to has to be an address, such as s3://bucket/folder, or a folder: a "
            "branch of the repository is for the first steps"
        )
    if not separator:
        folder = Path(to).expanduser()
        return to if folder.is_absolute() else os.path.relpath(to, ".dvc")
    if "@" in rest.partition("/")[0] and ":" in rest.partition("@")[0]:
        raise StorageError(
            f"{storage.masked(to)} has a login in it, and .dvc/config is committed: "
            "write the login to a file, and name that with --login"
        )
    if kind not in storage.kinds():
        raise StorageError(
            f"there are no packages for {kind}: choose {', '.join(storage.kinds())} or "
            "a folder"
        )
    if find_spec(f"dvc_{kind}") is None:
        raise StorageError(
            f"the packages for {kind} are not installed here: type "
            f"`uv pip install --require-hashes -r {LOCKS}/storage-{kind}.txt` first"
        )
    return to.rstrip("/")


def absolute(address: str) -> str:
    """Return an address; a folder as DVC reads it, relative to .dvc."""
    if "://" in address:
        return address
    return str(Path(".dvc", Path(address).expanduser()).resolve())


def _source(again: bool) -> Objects:
    """Open the old storage: that of .dvc/config, or the one that was kept."""
    if not again:
        return objects.here()
    if not (switch.BEFORE / "config").is_file():
        raise StorageError(
            f"storage is {storage.masked(storage.url())} already, and there are no "
            "settings here of one before"
        )
    config = storage.settings_in(switch.BEFORE)
    return _opened(config, config.get(storage.SECTION, "url"), "source")


def _opened(config: switch.Config, address: str, name: str) -> Objects:
    """Open a storage by its settings."""
    system, root = storage.connect(config, address, name)
    return Objects(address, system, root.rstrip("/"))


def _secret(config: switch.Config) -> set[str]:
    """Return the names of the settings that must not be committed."""
    text = io.StringIO()
    config.write(text)
    secret_lines = secrets_in(text.getvalue())
    return {name.rpartition(": ")[2] for name in secret_lines}
