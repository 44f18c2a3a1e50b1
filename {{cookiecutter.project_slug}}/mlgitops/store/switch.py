"""Writes DVC's settings for another storage: the login apart from what is committed."""

import configparser
import shutil
from pathlib import Path

from mlgitops import login, storage
from mlgitops.storage import StorageError

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
    """Keep the settings of the old storage, unless they are kept already."""
    BEFORE.mkdir(parents=True, exist_ok=True)
    for name in SETTINGS:
        if (file := Path(".dvc", name)).is_file():
            shutil.copyfile(file, BEFORE / name)


def write(config: Config, secret: set[str]) -> None:
    """Write both files: secret settings, and paths of files, are not committed."""
    shared, own = dict(config[storage.SECTION]), {}
    for name in [n for n in shared if n in secret or n in login.FILES]:
        own[name] = shared.pop(name)
    file = Path(".dvc", "config")
    kept = configparser.ConfigParser(interpolation=None)
    kept.read(file)
    kept.remove_section(storage.SECTION)
    kept.read_dict({storage.SECTION: shared})
    _replace(file, kept)
    local = Path(".dvc", storage.LOCAL)
    local.unlink(missing_ok=True)  # of the old storage; it is kept
    if own:
        private = configparser.ConfigParser(interpolation=None)
        private.read_dict({storage.SECTION: own})
        _replace(local, private)


def _replace(file: Path, config: Config) -> None:
    """Write settings, whole or not at all, for this user only."""
    part = file.with_name(f"{file.name}.part")
    with part.open("w") as stream:
        config.write(stream)
    if file.exists():
        shutil.copymode(file, part)
    else:
        part.chmod(0o600)
    part.replace(file)
