"""Moves data and models to and from storage, and verifies every transfer.

DVC does the work in a scratch repository with an empty cache and a fresh site folder,
because DVC never hashes a read-only cache object again and takes an earlier, broken
push for done. Every object that arrives is hashed here again; every push is verified by
reading it back.

With ``branch`` storage the DVC remote is the folder ``.dvc/branch``, a clone of this
repository's orphan branch ``storage``: enough to try everything with no account.
Objects in a folder are copied directly, and hashed before they have their names:
starting DVC for that takes a second.
"""

import atexit
import configparser
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp, mkstemp
from typing import Any

from mlgitops import git, lock, login, patience
from mlgitops.lock import Out

REMOTE = "storage"
SECTION = f"'remote \"{REMOTE}\"'"
BRANCH = "storage"
BRANCH_LIMIT = 50_000_000  # bytes; GitHub refuses a file from 100 MB and warns from 50
LOCAL = "config.local"  # of .dvc: the login, which is not committed
UNFINISHED = Path(".dvc", "tmp", "storage-next")  # of `make storage`: store/switch.py
TRIES = 20
MOMENTS = 3.0  # seconds
PART = ".moving"  # ends the name of an object that is not whole yet
LOGGED_IN = Path(".dvc", "tmp", "login")  # of a scratch repository
# An experimental part of gcsfs asks a second service, which other endpoints lack.
PLAIN = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
SIGNED = re.compile(r"([?&][^=&\s]*(?i:sig|signature|token|secret|password)=)[^&\s]+")
EMPTY: Mapping[str, str] = {}
UNKNOWN = "Checkout failed for"  # DVC's whole message for a missing object
CHANGED = ", found "  # in the message for other bytes: before what they are
ALTERED = "was altered"  # in those for objects that may be written over
BARE = re.compile(r"(?:^|(?<= - ))Failure(?=$| ERROR: )")  # of ssh, on a full disk
OBJECTS = (  # what this machine's git changes or hides elsewhere stays as it is here
    *("-c", "core.autocrlf=false", "-c", f"core.attributesFile={os.devnull}"),
    *("-c", f"core.excludesFile={os.devnull}"),
)


class StorageError(Exception):
    """An object is missing, altered or could not be moved; the message says which."""


def pull(
    outs: Iterable[Out], into: Path | None = None, cwd: str | Path = "."
) -> list[Path]:
    """Download objects to their paths, or by name into ``into``; return the paths.

    Raises:
        StorageError: an object is missing from storage, or has other bytes.
    """
    targets = {Path(cwd, o.path) if into is None else into / o.name: o for o in outs}
    if problems := list(bring(targets, cwd).values()):
        others = f" ({len(problems) - 1} more fail, too)" if problems[1:] else ""
        raise StorageError(f"{problems[0]}{others}")
    return list(targets)


def bring(
    targets: Mapping[Path, Out], cwd: str | Path = "."
) -> dict[Path, StorageError]:
    """Download objects to these paths in one go; return the errors by path."""
    if not targets:
        return {}
    address = masked(url(cwd))
    if folder := _objects(Path(cwd)):
        copies = {p: _copied(folder, out, p, address) for p, out in targets.items()}
        return {path: problem for path, problem in copies.items() if problem}
    outs, problems, failure = list(targets.values()), {}, ""
    with _scratch(Path(cwd), outs) as scratch:
        try:
            _transfer(scratch, "not downloaded", "pull", *_pointers(outs))
        except StorageError as error:
            failure = str(error)
        for number, (path, out) in enumerate(targets.items()):
            download = scratch / str(number) / out.name
            try:
                if not download.is_file():
                    raise StorageError(failure or UNKNOWN)
                _verify(download, out)
            except StorageError as error:
                problems[path] = StorageError(_absent(out, address, str(error)))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(download, path)
    return problems


def push(files: Mapping[Path, Out], cwd: str | Path = ".") -> None:
    """Upload files to storage and verify each by reading it back.

    Raises:
        StorageError: a file has other bytes than named, or did not arrive.
    """
    if not files:
        return
    cwd, outs = Path(cwd), list(files.values())
    for file, out in files.items():
        _verify(file, out)
        _refuse_big(file, out, cwd)
    if folder := _objects(cwd):
        _fill(folder, files, cwd)
        _publish(cwd)
        return
    _upload(files, cwd)
    with TemporaryDirectory() as name:
        targets = {Path(name, str(n), o.name): o for n, o in enumerate(outs)}
        if failed := bring(targets, cwd):
            altered = {targets[p].md5 for p, e in failed.items() if ALTERED in str(e)}
            _overwrite({f: o for f, o in files.items() if o.md5 in altered}, cwd)
            pull(outs, Path(name), cwd)


def _fill(folder: Path, files: Mapping[Path, Out], cwd: Path) -> None:
    """Copy files into a folder of objects, but for those that are there and right."""
    shared = _config(cwd).get(SECTION, "shared", fallback="") == "group"
    absent = {f: o for f, o in files.items() if not _right(folder, o)}
    try:
        for file, out in absent.items():
            _put(file, out, _object(folder, out), shared)
    except OSError as error:
        outs, problem = list(absent.values()), f"not stored: {reason(error)}"
        raise StorageError(_unsent(outs, masked(url(cwd)), problem)) from error


def _upload(files: Mapping[Path, Out], cwd: Path) -> None:
    """Let DVC send files to storage, but for what it takes for stored."""
    outs = list(files.values())
    with _scratch(cwd, outs) as scratch:
        for number, (file, out) in enumerate(files.items()):
            shutil.copyfile(file, scratch / str(number) / out.name)
        for verb in (("commit", "--force"), ("push",)):
            try:
                _transfer(scratch, "not stored", *verb, *_pointers(outs))
            except StorageError as error:
                raise StorageError(
                    _unsent(outs, masked(url(cwd)), str(error))
                ) from error


def _overwrite(files: Mapping[Path, Out], cwd: Path) -> None:
    """Write objects in place of altered ones, which DVC takes for stored ones."""
    if not files:
        return
    address, outs = url(cwd), list(files.values())
    system, root = connect(_config(cwd), address, LOCAL)
    try:
        for file, out in files.items():
            path = f"{root.rstrip('/')}/files/md5/{out.md5[:2]}/{out.md5[2:]}"
            system.put_file(str(file), path)
    except Exception as error:  # each kind of storage has its own
        problem = f"not stored: {reason(error)}"
        raise StorageError(_unsent(outs, masked(address), problem)) from error


def _put(file: Path, out: Out, path: Path, shared: bool) -> None:
    """Copy an object into a folder, whole and right or not at all, as DVC leaves it.

    Nobody may write to it. In a storage that is ``shared`` the group may add others.
    """
    _make(path.parent, shared)
    number, name = mkstemp(PART, f"{path.name}.", path.parent)
    part = Path(name)
    try:
        with open(number, "wb") as target, file.open("rb") as source:
            shutil.copyfileobj(source, target)
        with suppress(OSError):  # some disks of a network have no rights of their own
            part.chmod(0o444)
        _verify(part, out)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _make(folder: Path, shared: bool) -> None:
    """Make a folder and those above it, which the group may write to if ``shared``."""
    if folder.is_dir():
        return
    _make(folder.parent, shared)
    folder.mkdir(exist_ok=True)
    if shared:
        with suppress(OSError):
            folder.chmod(0o2775)


def _unsent(outs: list[Out], address: str, failure: str) -> str:
    """Return the message for objects that did not reach storage."""
    more = f" and {len(outs) - 1} more objects" if outs[1:] else ""
    return (
        f"{outs[0].path} (md5 {outs[0].md5}){more} {'were' if more else 'was'} "
        f"{failure}: when {address} takes {'them' if more else 'it'}, run this again"
    )


def missing(outs: Iterable[Out], cwd: str | Path = ".") -> list[Out]:
    """Return the objects that are not in storage, without moving any."""
    outs = list(outs)
    if not outs:
        return []
    if folder := _objects(Path(cwd)):
        return [out for out in outs if not _there(folder, out)]
    with _scratch(Path(cwd), outs) as scratch:
        args = ("data", "status", "--not-in-remote", "--json")
        listing = _transfer(scratch, "storage cannot be reached", *args)
        status = json.loads(listing or "{}")
    absent = {f"{path}.dvc" for path in status.get("not_in_remote") or []}
    return [
        out
        for pointer, out in zip(_pointers(outs), outs, strict=True)
        if pointer in absent
    ]


def unchanged(out: Out, cwd: str | Path = ".") -> bool:
    """Tell whether a file here is the object, or absent."""
    file = Path(cwd, out.path)
    try:
        if file.exists():
            _verify(file, out)
    except StorageError:
        return False
    return True


def add(path: str | Path, cwd: str | Path = ".") -> Out:
    """Let DVC track a data file and return its entry."""
    add_all([path], cwd)
    return lock.pointers(cwd=cwd)[Path(path).as_posix()]


def add_all(paths: Iterable[str | Path], cwd: str | Path = ".") -> None:
    """Let DVC track data files, all by one process: its start takes a second or two."""
    if names := [str(path) for path in paths]:
        args = ("add", "--no-relink", *names)  # --quiet would hide an error as well
        _dvc(Path(cwd), f"`dvc add {' '.join(names)}` failed", *args)


def url(cwd: str | Path = ".") -> str:
    """Return the address of storage; a relative folder is made absolute.

    Raises:
        StorageError: .dvc/config has no remote called ``storage``.
    """
    return _config(cwd).get(SECTION, "url")


def kind(cwd: str | Path = ".") -> str:
    """Return the scheme of storage's address, such as s3; "" is a folder."""
    scheme, separator, _ = url(cwd).partition("://")
    return scheme if separator else ""


def kinds() -> list[str]:
    """Return the schemes whose packages are locked; cookiecutter.json offers them."""
    files = Path(__file__).parent.glob("requirements/storage-*.txt")
    return sorted(file.stem.removeprefix("storage-") for file in files)


def masked(text: str) -> str:
    """Return a sentence without the logins and signatures of the addresses in it."""
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return SIGNED.sub(r"\1***", text)


def reason(error: object, longest: int = 200) -> str:
    """Return why storage failed, as one line without a login in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = BARE.sub(
        "Failure (all that sftp says of a full disk or quota)", masked(text)
    )
    return text if len(text) <= longest else f"{text[: longest - 2]} …"


def filesystem(address: str, local: str = LOCAL) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path of the address in it.

    An address of storage's kind is opened with storage's login, which is in the file
    ``local`` of .dvc.

    Raises:
        StorageError: the login cannot be used.
    """
    has_storage = Path(".dvc", "config").is_file()
    if not has_storage or address.partition("://")[0] != kind():
        import fsspec

        system, path = fsspec.core.url_to_fs(address)
        return system, str(path)
    return connect(_config(".", local), address, local)


def connect(
    config: configparser.ConfigParser, address: str, login_name: str
) -> tuple[Any, str]:
    """Return the file system of an address by DVC's settings, and the path in it.

    Raises:
        StorageError: the login cannot be used, or the address cannot be opened: some
            packages of clouds ask for a login, or connect, as soon as they are made.
    """
    scheme, separator, _ = address.partition("://")
    if not separator:
        import fsspec

        return fsspec.filesystem("file"), address
    try:
        return _connected(config, address, scheme, login_name)
    except StorageError:
        raise
    except ImportError as error:
        raise StorageError(
            f"a package for {scheme} is not installed ({error}): type `make setup`"
        ) from error
    except Exception as error:  # each kind of storage has its own
        raise StorageError(
            f"{masked(address)} cannot be opened: {reason(error)}; when it answers, "
            "run this again"
        ) from error


def _connected(
    config: configparser.ConfigParser, address: str, scheme: str, login_name: str
) -> tuple[Any, str]:
    """Return the file system of a cloud or a host, and the path in it."""
    from configobj import ConfigObj  # DVC's reader: it takes the quotes off
    from dvc.fs import get_cloud_fs

    folder = _login_folder(login_name)
    _unpack(config, folder)
    env = _environment(scheme, folder)
    env.pop("HOME", None)  # this process keeps its own
    os.environ.update({**PLAIN, **env})
    patience.apply(scheme)
    text = io.StringIO()
    config.write(text)
    settings = ConfigObj(text.getvalue().splitlines())[SECTION.strip("'")]
    settings = {**patience.settings(scheme), **settings}
    kind_of_system, options, path = get_cloud_fs({}, **{**settings, "url": address})
    system = kind_of_system(**options)
    if (hosts := folder / ".ssh" / login.HOSTS).is_file():
        system.fs_args["known_hosts"] = str(hosts)
    return system.fs, str(path)


@cache
def _login_folder(local: str) -> Path:
    """Return a folder of this process for a login's files; removed at its end."""
    folder = mkdtemp(prefix="login-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _unpack(config: configparser.ConfigParser, folder: Path) -> None:
    """Write the files that a stored login holds, and name them in DVC's settings."""
    try:
        login.unpack(config[SECTION], folder)
    except login.LoginError as error:
        raise StorageError(str(error)) from error


def _environment(scheme: str, folder: Path) -> dict[str, str]:
    """Return the variables that the login of a kind of storage needs."""
    try:
        return login.environment(scheme, folder)
    except login.LoginError as error:
        raise StorageError(f"no login to storage: {error}") from error


def publish(cwd: str | Path = ".") -> None:
    """Push the clone of the storage branch, if that is storage."""
    _publish(Path(cwd))


def fresh(cwd: str | Path = ".") -> None:
    """Bring the clone of the storage branch up to date, if that is storage."""
    _sync(Path(cwd))


def settings_in(folder: Path) -> configparser.ConfigParser:
    """Return the settings of a storage that was in use before, from their copies."""
    return _config(".", LOCAL, folder)


def _config(
    cwd: str | Path, local: str = LOCAL, folder: Path | None = None
) -> configparser.ConfigParser:
    """Return DVC's settings for a scratch repository."""
    config = configparser.ConfigParser(interpolation=None)
    if folder is None and Path(cwd, UNFINISHED).is_dir():
        raise StorageError(
            "`make storage` was interrupted while it wrote .dvc/config: type the same "
            "command again, which writes the rest"
        )
    folder = folder or Path(cwd, ".dvc")
    try:
        config.read([folder / name for name in ("config", local)])
        if local == LOCAL:
            config.read_string(os.environ.get(login.LOGIN, ""), login.LOGIN)
    except configparser.Error:
        raise StorageError(  # configparser's own message would print a login
            "DVC's settings cannot be read: repair .dvc/config, .dvc/config.local or "
            f"the secret {login.LOGIN}, which has the text of a .dvc/config.local"
        ) from None
    if not config.has_option(SECTION, "url"):
        raise StorageError(f".dvc/config has no remote called {REMOTE}")
    address = config.get(SECTION, "url")
    if address.startswith("file:"):
        raise StorageError(
            f".dvc/config has the address {address}: write the path of the folder "
            "alone, as in `url = /shared/models`"
        )
    if "://" not in address:
        address = str(Path(cwd, ".dvc", Path(address).expanduser()).resolve())
    for section in set(config.sections()) - {SECTION}:
        config.remove_section(section)
    core = {"no_scm": "true", "remote": REMOTE}
    waits = patience.settings(address.partition("://")[0])
    remote = {**waits, **config[SECTION], "url": address}
    config.read_dict({SECTION: remote, "core": core})
    return config


def _objects(cwd: Path) -> Path | None:
    """Return the folder of the objects, up to date, if the remote is a folder."""
    address = url(cwd)
    if "://" in address:
        return None
    _sync(cwd)
    return Path(address, "files", "md5")


def _object(folder: Path, out: Out) -> Path:
    """Return where DVC keeps an object in a folder."""
    return folder / out.md5[:2] / out.md5[2:]


def _there(folder: Path, out: Out) -> bool:
    """Tell whether a folder has an object, of whatever bytes.

    Raises:
        StorageError: the folder may not be read.
    """
    try:
        return _object(folder, out).is_file()
    except OSError as error:
        raise StorageError(
            f"{out.path} (md5 {out.md5}) cannot be looked up in storage: "
            f"{reason(error)}: when it can, run this again"
        ) from error


def _right(folder: Path, out: Out) -> bool:
    """Tell whether a folder has an object, and its bytes are right."""
    try:
        if not _there(folder, out):
            return False
        _verify(_object(folder, out), out)
    except (OSError, StorageError):
        return False
    return True


def _copied(folder: Path, out: Out, target: Path, where: str) -> StorageError | None:
    """Copy an object to its path, whole or not at all; return the error, if any."""
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_object(folder, out), part)
        _verify(part, out)
        part.replace(target)
    except (FileNotFoundError, NotADirectoryError):
        return StorageError(_absent(out, where, UNKNOWN))
    except OSError as error:
        if error.filename == str(_object(folder, out)):
            return StorageError(_absent(out, where, f"not downloaded: {reason(error)}"))
        return StorageError(f"{out.path} cannot be written: {error.strerror}")
    except StorageError as error:
        return StorageError(_absent(out, where, str(error)))
    finally:
        part.unlink(missing_ok=True)
    return None


def branch_folder(cwd: Path = Path()) -> Path | None:
    """Return the clone that is the remote, if storage is a branch."""
    folder = Path(cwd, ".dvc", "branch").resolve()
    return folder if url(cwd) == str(folder) else None


def _sync(cwd: Path) -> None:
    """Bring the clone of the storage branch up to date, if that is the remote."""
    folder = branch_folder(cwd)
    if folder is None:
        return
    with _alone(folder):
        _fetch(folder, cwd)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other command work on the clone, and remove locks that a killed git left.

    A git whose own command was killed may still work there, for moments.
    """
    home = folder.parent / "tmp"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "branch.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        locks = Path(folder, ".git")
        for left in (*locks.glob("*.lock"), *locks.glob("refs/**/*.lock")):
            with suppress(FileNotFoundError):
                while time.time() - left.stat().st_mtime < MOMENTS:
                    time.sleep(0.1)
                left.unlink()
        _make_clone(folder)
        yield


def _make_clone(folder: Path) -> None:
    """Make the clone, if git does not take the folder for a repository of its own.

    In one that a full disk or a kill left damaged, git would work on the repository
    around it. Its objects stay, and are added to the new one.
    """
    own = folder / ".git"
    if own.exists():
        if Path(git.run("rev-parse", "--absolute-git-dir", cwd=folder)) == own:
            return
        shutil.rmtree(own)
    folder.mkdir(parents=True, exist_ok=True)
    git.run("init", "-q", cwd=folder)
    git.run("symbolic-ref", "HEAD", f"refs/heads/{BRANCH}", cwd=folder)


def _fetch(folder: Path, cwd: Path) -> None:
    """Bring the clone up to date."""
    if git.has_remote(cwd):
        origin = git.run("remote", "get-url", "origin", cwd=cwd)
        verb = "set-url" if git.has_remote(folder) else "add"
        git.run("remote", verb, "origin", origin, cwd=folder)
        try:
            newest = git.fetch_branch(BRANCH, folder)
        except git.GitError as error:
            raise StorageError(
                f"the storage branch cannot be read: {error}: when origin answers, run "
                "this again"
            ) from error
        if newest:
            _join(folder, newest)


def _join(folder: Path, newest: str) -> None:
    """Keep local objects on top of origin's branch; objects never conflict.

    What origin had and has no more (`make prune`) goes here too: the next push would
    bring it back.
    """
    base = git.run("merge-base", "HEAD", newest, cwd=folder, check=False)
    if base:
        names = ("diff-tree", "-r", "--name-only", "--diff-filter=D", "-z")
        for name in git.run(*names, base, newest, cwd=folder).split("\0"):
            if name:
                Path(folder, name).unlink(missing_ok=True)
    git.run(*OBJECTS, "reset", "-q", newest, cwd=folder)
    deleted = git.run("ls-files", "--deleted", cwd=folder).splitlines()
    if deleted:
        git.run(*OBJECTS, "checkout-index", "-q", "-a", cwd=folder)


def _publish(cwd: Path) -> None:
    """Push the clone of the storage branch, if that is the remote."""
    folder = branch_folder(cwd)
    if folder is None or not git.has_remote(cwd):
        return
    for _ in range(TRIES):
        with _alone(folder):
            if _sent(folder):
                return
        _sync(cwd)
    raise StorageError(
        f"other writers were faster {TRIES} times: run the command again"
    )


def _sent(folder: Path) -> bool:
    """Commit what is new in the clone and push it; False when others were faster."""
    git.run(*OBJECTS, "add", "--all", "--", f":!*{PART}", cwd=folder)
    if git.run(*OBJECTS, "diff", "--cached", "--name-only", cwd=folder):
        identity = ("-c", "user.name=storage", "-c", "user.email=storage@localhost")
        git.run(*identity, "commit", "-q", "-m", "add objects", cwd=folder)
    try:
        return git.push(f"HEAD:{BRANCH}", cwd=folder)
    except git.GitError as error:
        raise StorageError(
            f"the storage branch cannot be written: {error}: when origin takes it, "
            "run this again"
        ) from error


def _refuse_big(file: Path, out: Out, cwd: Path) -> None:
    """Refuse a file that GitHub would refuse, before anything is sent."""
    if branch_folder(cwd) and file.stat().st_size > BRANCH_LIMIT:
        size = file.stat().st_size // 1_000_000
        raise StorageError(
            f"{out.path} has {size} MB, too large for a branch on GitHub: "
            "set the url of the remote in .dvc/config to other storage, such as "
            f"{', '.join(kinds())}"
        )


@contextmanager
def _scratch(cwd: Path, outs: list[Out]) -> Iterator[Path]:
    """Yield a temporary DVC repository that holds only these pointers."""
    _sync(cwd)
    home = Path(cwd, ".dvc", "tmp")
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=home.resolve(), prefix="transfer-") as name:
        scratch = Path(name)
        (scratch / ".dvc").mkdir()
        config = _config(cwd)
        _unpack(config, scratch / LOGGED_IN)
        with (scratch / ".dvc" / "config").open("w") as file:
            config.write(file)
        for number, out in enumerate(outs):
            (scratch / str(number)).mkdir()
            pointer = {"md5": out.md5, "size": out.size, "hash": "md5"}
            text = json.dumps({"outs": [{**pointer, "path": out.name}]})
            (scratch / str(number) / f"{out.name}.dvc").write_text(text)
        yield scratch


def _pointers(outs: list[Out]) -> list[str]:
    """Return the pointers of a scratch repository."""
    return [f"{number}/{out.name}.dvc" for number, out in enumerate(outs)]


def _transfer(scratch: Path, problem: str, *args: str) -> str:
    """Run DVC with the login of storage, which may last for minutes only."""
    scheme = kind(scratch)
    env = _environment(scheme, scratch / LOGGED_IN)
    return _dvc(scratch, problem, *args, more=env, scheme=scheme)


def _dvc(
    cwd: Path,
    problem: str,
    *args: str,
    more: Mapping[str, str] = EMPTY,
    scheme: str = "",
) -> str:
    """Run DVC as a program and return what it printed.

    Raises:
        StorageError: the problem, with DVC's errors as one line.
    """
    site = cwd / ".dvc" / "tmp" / "site"
    env = {**os.environ, "DVC_SITE_CACHE_DIR": str(site), "DVC_NO_ANALYTICS": "1"}
    env |= {**PLAIN, **more}
    program = (patience.PROGRAM, scheme, str(patience.SILENT))
    command = (sys.executable, "-P", *program, *args)
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines
        text = " ".join(errors).removeprefix("ERROR: ")
        text = text or f"DVC ended with {done.returncode} and said nothing"
        raise StorageError(f"{problem}: {reason(text, 400)}")
    return done.stdout


def _absent(out: Out, address: str, failure: str) -> str:
    """Return the message for an object that did not arrive from storage, and why."""
    name = f"{out.path} (md5 {out.md5})"
    push = "run `make push` where the file is, then run this again"
    if UNKNOWN in failure:
        return f"{name} is not in storage, {address}, or {ALTERED} there: {push}"
    if CHANGED in failure:
        found = failure.rpartition(CHANGED)[2]
        return f"{name} {ALTERED} in storage, {address}, which has {found}: {push}"
    return f"{name} was {failure}: when {address} answers, run this again"


def _verify(file: Path, out: Out) -> None:
    """Refuse a file whose bytes are not the expected ones."""
    with file.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    if md5 != out.md5 or file.stat().st_size != out.size:
        size = file.stat().st_size
        raise StorageError(
            f"{out.path} is not the expected file: expected md5 {out.md5} "
            f"({out.size} bytes){CHANGED}{md5} ({size} bytes)"
        )
