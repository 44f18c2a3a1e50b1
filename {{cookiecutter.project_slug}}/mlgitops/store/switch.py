"""Writes DVC's settings for another storage: the login apart from what is committed.

They are two files, which nothing replaces at once. So both are written beside first,
in a folder that takes its name when it is whole; from then on a run that was killed is
finished by the next one, and until it is, nobody reads half of the settings.
"""

import configparser
import os
import shutil
from pathlib import Path

from mlgitops import login, storage
from mlgitops.storage import StorageError

NEXT = storage.UNFINISHED  # both files as they are to be
BEFORE = Path(".dvc", "tmp", "storage-before")  # the settings of the old storage
Config = configparser.ConfigParser
SETTINGS = ("config", storage.LOCAL)  # the names of both files


def settings(address: str, file: Path | None) -> Config:
    """Return DVC's settings for an address, with the login in a file.

    Raises:
        StorageError: the file has no section of storage.
    """
    config = configparser.ConfigParser(interpolation=None)
    if file is not None:
        try:
            config.read_string(file.read_text(), str(file))
        except (OSError, configparser.Error):
            raise StorageError(f"{file} is not a file like .dvc/config.local") from None
        if not config.has_section(storage.SECTION):
            raise StorageError(
                f"{file} has no section [{storage.SECTION}]: write it as "
                ".dvc/config.local is written"
            )
    if not config.has_section(storage.SECTION):
        config.add_section(storage.SECTION)
    config[storage.SECTION].update({"url": address, "verify": "true"})
    return config


def keep() -> None:
    """Keep the settings of the old storage; none stay of one before it."""
    BEFORE.mkdir(parents=True, exist_ok=True)
    for name in SETTINGS:
        _same(Path(".dvc", name), BEFORE / name)


def write(config: Config, secret: set[str]) -> None:
    """Write both files: secret settings, and paths of files, are not committed."""
    shared, own = dict(config[storage.SECTION]), {}
    for name in [n for n in shared if n in secret or n in login.FILES]:
        own[name] = shared.pop(name)
    kept = configparser.ConfigParser(interpolation=None)
    kept.read(Path(".dvc", "config"))
    kept.remove_section(storage.SECTION)
    kept.read_dict({storage.SECTION: shared})
    private = configparser.ConfigParser(interpolation=None)
    private.read_dict({storage.SECTION: own})
    part = NEXT.with_name(f"{NEXT.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    for name, contents in zip(SETTINGS, (kept, private), strict=True):
        if name != storage.LOCAL or own:
            with (part / name).open("w") as stream:
                contents.write(stream)
    part.replace(NEXT)
    finish()


def finish() -> bool:
    """Put settings that were written beside in their place; tell whether there were."""
    if not NEXT.is_dir():
        return False
    for name in SETTINGS:  # without a file of its own, that of the old storage goes
        _same(NEXT / name, Path(".dvc", name))
    done = NEXT.with_name(f"{NEXT.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    NEXT.replace(done)
    shutil.rmtree(done, ignore_errors=True)
    return True


def _same(source: Path, file: Path) -> None:
    """Make a file the same as another, whole or not at all; none if that is none."""
    if not source.is_file():
        file.unlink(missing_ok=True)
        return
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))  # it may hold a login
    shutil.copyfile(source, part)
    if file.exists() and file.name != storage.LOCAL:
        shutil.copymode(file, part)
    part.replace(file)
