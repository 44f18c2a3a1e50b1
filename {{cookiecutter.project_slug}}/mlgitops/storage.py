"""Moves data and models between here and storage, and believes no transfer.

The work is DVC's, in a scratch repository of its own: an empty cache and a fresh
site folder, because DVC never hashes a read-only cache object again and takes an
earlier, broken push for done. Every object that arrives is hashed here once more,
every push is proved by reading it back.

With ``branch`` storage the DVC remote is the folder ``.dvc/branch``, a clone of this
repository's orphan branch ``storage``: enough to try everything with no account. Out
of a folder, objects are copied as they are: to start DVC for that takes a second.
"""

import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten

from mlgitops import git, lock
from mlgitops.lock import Out

REMOTE = "storage"
SECTION = f"'remote \"{REMOTE}\"'"
BRANCH = "storage"
BRANCH_LIMIT = 50_000_000  # bytes; GitHub refuses a file from 100 MB and warns from 50
TRIES = 20
UNKNOWN = "Checkout failed for"  # all that DVC says of an object that is not there


class StorageError(Exception):
    """Bytes are missing, altered or could not be moved; the message says which."""


def pull(
    outs: Iterable[Out], into: Path | None = None, cwd: str | Path = "."
) -> list[Path]:
    """Bring objects here, each at its path or by name in ``into``; return the paths.

    Raises:
        StorageError: an object is missing from storage, or is not the one named.
    """
    places = {
        Path(cwd, out.path) if into is None else Path(into, out.name): out
        for out in outs
    }
    if problems := list(bring(places, cwd).values()):
        more = f" ({len(problems) - 1} more fail, too)" if problems[1:] else ""
        raise StorageError(f"{problems[0]}{more}")
    return list(places)


def bring(
    places: Mapping[Path, Out], cwd: str | Path = "."
) -> dict[Path, StorageError]:
    """Bring objects to places in one go; return why any of them is not there now."""
    if not places:
        return {}
    if folder := _objects(Path(cwd)):
        copied = {place: _copied(folder, out, place) for place, out in places.items()}
        return {place: problem for place, problem in copied.items() if problem}
    outs, problems = list(places.values()), {}
    with _scratch(Path(cwd), outs) as scratch:
        problem = _dvc(scratch, "pull", *_targets(outs))
        for number, (place, out) in enumerate(places.items()):
            found = scratch / str(number) / out.name
            try:
                if not found.is_file():
                    raise StorageError(_absent(out, problem))
                _verify(found, out)
            except StorageError as error:
                problems[place] = error
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(found, place)
    return problems


def push(files: Mapping[Path, Out], cwd: str | Path = ".") -> None:
    """Send files to storage and prove it by reading every one back.

    Raises:
        StorageError: a file is not the one named, or did not arrive.
    """
    if not files:
        return
    outs = list(files.values())
    with _scratch(Path(cwd), outs) as scratch:
        for number, (file, out) in enumerate(files.items()):
            _verify(file, out)
            _refuse_big(file, out, Path(cwd))
            shutil.copyfile(file, scratch / str(number) / out.name)
        problem = _dvc(scratch, "commit", "--force", *_targets(outs))
        problem = problem or _dvc(scratch, "push", *_targets(outs))
        if problem:
            raise StorageError(f"storage took nothing: {problem}")
        _publish(Path(cwd))
    with TemporaryDirectory() as folder:
        pull(outs, Path(folder), cwd)


def missing(outs: Iterable[Out], cwd: str | Path = ".") -> list[Out]:
    """Return those of the objects that are not in storage, without moving any."""
    wanted = list(outs)
    if not wanted:
        return []
    if folder := _objects(Path(cwd)):
        return [out for out in wanted if not _object(folder, out).is_file()]
    with _scratch(Path(cwd), wanted) as scratch:
        args = ("data", "status", "--not-in-remote", "--json")
        done = _run(scratch, *args)
        if done.returncode:
            raise StorageError(f"storage does not answer: {_words(done.stderr)}")
        gone = set(json.loads(done.stdout or "{}").get("not_in_remote") or [])
    names = [f"{number}/{out.name}" for number, out in enumerate(wanted)]
    return [out for name, out in zip(names, wanted, strict=True) if name in gone]


def add(path: str | Path, cwd: str | Path = ".") -> Out:
    """Let DVC track a data file and return what its pointer says."""
    done = _run(Path(cwd), "add", "--quiet", "--no-relink", str(path))
    if done.returncode:
        raise StorageError(f"`dvc add {path}` failed: {_words(done.stderr)}")
    return lock.pointers(cwd=cwd)[Path(path).as_posix()]


def url(cwd: str | Path = ".") -> str:
    """Return where storage is; a relative folder is made absolute.

    Raises:
        StorageError: .dvc/config names no remote called ``storage``.
    """
    return _config(cwd).get(SECTION, "url")


def _config(cwd: str | Path) -> configparser.ConfigParser:
    """Return DVC's settings as they hold in a scratch repository."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([Path(cwd, ".dvc", name) for name in ("config", "config.local")])
    if not config.has_option(SECTION, "url"):
        raise StorageError(f".dvc/config names no remote called {REMOTE}")
    place = config.get(SECTION, "url")
    if "://" not in place:
        place = str(Path(cwd, ".dvc", Path(place).expanduser()).resolve())
    for section in set(config.sections()) - {SECTION}:
        config.remove_section(section)
    config.set(SECTION, "url", place)
    config.read_dict({"core": {"no_scm": "true", "remote": REMOTE}})
    return config


def _objects(cwd: Path) -> Path | None:
    """Return where the objects are if the remote is a folder, brought up to date."""
    place = url(cwd)
    if "://" in place:
        return None
    _sync(cwd)
    return Path(place, "files", "md5")


def _object(folder: Path, out: Out) -> Path:
    """Return where DVC keeps an object in a folder."""
    return folder / out.md5[:2] / out.md5[2:]


def _copied(folder: Path, out: Out, place: Path) -> StorageError | None:
    """Copy an object to its place, whole or not at all; return why it is not there."""
    part = place.with_name(place.name + ".part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_object(folder, out), part)
        _verify(part, out)
        part.replace(place)
    except (FileNotFoundError, NotADirectoryError):
        return StorageError(_absent(out, ""))
    except OSError as error:
        return StorageError(f"{out.path} was not brought here: {error.strerror}")
    except StorageError as error:
        return error
    finally:
        part.unlink(missing_ok=True)
    return None


def on_branch(cwd: Path = Path()) -> bool:
    """Tell whether storage is a branch of this repository."""
    return _branch_folder(cwd) is not None


def _branch_folder(cwd: Path) -> Path | None:
    """Return the clone that is the remote, if storage is a branch."""
    folder = Path(cwd, ".dvc", "branch").resolve()
    return folder if url(cwd) == str(folder) else None


def _sync(cwd: Path) -> None:
    """Bring the clone of the storage branch up to date, if that is the remote."""
    folder = _branch_folder(cwd)
    if folder is None:
        return
    if not (folder / ".git").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        git.run("init", "-q", cwd=folder)
        git.run("symbolic-ref", "HEAD", f"refs/heads/{BRANCH}", cwd=folder)
    if git.has_remote(cwd):
        origin = git.run("remote", "get-url", "origin", cwd=cwd)
        verb = "set-url" if git.has_remote(folder) else "add"
        git.run("remote", verb, "origin", origin, cwd=folder)
        if newest := git.fetch_branch(BRANCH, folder):
            _join(folder, newest)


def _join(folder: Path, newest: str) -> None:
    """Put what is only here on top of origin's branch; objects never conflict."""
    git.run("reset", "-q", newest, cwd=folder)
    deleted = git.run("ls-files", "--deleted", cwd=folder).splitlines()
    if deleted:
        git.run("checkout-index", "-q", "-a", cwd=folder)


def _publish(cwd: Path) -> None:
    """Push the clone of the storage branch, if that is the remote."""
    folder = _branch_folder(cwd)
    if folder is None or not git.has_remote(cwd):
        return
    for _ in range(TRIES):
        git.run("add", "--all", cwd=folder)
        if git.run("status", "--porcelain", cwd=folder):
            who = ("-c", "user.name=storage", "-c", "user.email=storage@localhost")
            git.run(*who, "commit", "-q", "-m", "add objects", cwd=folder)
        try:
            git.remote_run("push", "-q", "origin", f"HEAD:{BRANCH}", cwd=folder)
            return
        except git.GitError as error:
            if not re.search(r"rejected|fetch first|cannot lock", str(error)):
                raise StorageError(f"the storage branch: {error}") from error
            _sync(cwd)
    raise StorageError(f"origin refused the storage branch {TRIES} times: run again")


def _refuse_big(file: Path, out: Out, cwd: Path) -> None:
    """Refuse what GitHub would refuse, before anything is sent."""
    if _branch_folder(cwd) and file.stat().st_size > BRANCH_LIMIT:
        size = file.stat().st_size // 1_000_000
        raise StorageError(
            f"{out.path} has {size} MB, too big to keep on a branch of GitHub: "
            "set the url of the remote in .dvc/config to s3, gs, azure or ssh"
        )


@contextmanager
def _scratch(cwd: Path, outs: list[Out]) -> Iterator[Path]:
    """Give a DVC repository of its own that holds nothing but these pointers."""
    _sync(cwd)
    home = Path(cwd, ".dvc", "tmp")
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=home.resolve(), prefix="transfer-") as name:
        scratch = Path(name)
        (scratch / ".dvc").mkdir()
        with (scratch / ".dvc" / "config").open("w") as file:
            _config(cwd).write(file)
        for number, out in enumerate(outs):
            (scratch / str(number)).mkdir()
            pointer = {"md5": out.md5, "size": out.size, "hash": "md5"}
            text = json.dumps({"outs": [{**pointer, "path": out.name}]})
            (scratch / str(number) / f"{out.name}.dvc").write_text(text)
        yield scratch


def _targets(outs: list[Out]) -> list[str]:
    """Return the pointers of a scratch repository."""
    return [f"{number}/{out.name}.dvc" for number, out in enumerate(outs)]


def _dvc(scratch: Path, *args: str) -> str:
    """Run DVC and return its complaint, if it has one."""
    done = _run(scratch, *args)
    return _words(done.stderr) if done.returncode else ""


def _run(cwd: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """Run DVC as a program."""
    site = cwd / ".dvc" / "tmp" / "site"
    env = {**os.environ, "DVC_SITE_CACHE_DIR": str(site), "DVC_NO_ANALYTICS": "1"}
    command = (sys.executable, "-m", "dvc", *args)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def _words(text: str) -> str:
    """Return what DVC calls an error, or all that it said, as one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ")] or lines
    return shorten(" ".join(errors).removeprefix("ERROR: "), 400, placeholder=" …")


def _absent(out: Out, problem: str) -> str:
    """Say that an object is not there, and what to type; or why nothing came."""
    if problem and UNKNOWN not in problem:
        return f"{out.path} (md5 {out.md5}) did not come from storage: {problem}"
    return (
        f"{out.path} (md5 {out.md5}) is not in storage, or was altered there: run "
        "`make push` where the file is, then run this again"
    )


def _verify(file: Path, out: Out) -> None:
    """Refuse a file that is not the one named."""
    with file.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    if md5 != out.md5 or file.stat().st_size != out.size:
        size = file.stat().st_size
        raise StorageError(
            f"{out.path} is not the file that was named: expected md5 {out.md5} "
            f"({out.size} bytes), found {md5} ({size} bytes)"
        )
