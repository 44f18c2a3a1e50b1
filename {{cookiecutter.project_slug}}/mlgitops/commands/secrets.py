"""Refuses a password or key in .dvc/config, which is committed."""

import configparser
import re
import sys
from pathlib import Path

SECRET = re.compile(
    r"password|passphrase|secret|token|access_key|account_key|connection_string"
    r"|sas|credential|^user$|client_id",
    re.IGNORECASE,
)
HARMLESS = re.compile(r"credentialpath|^ask_password$", re.IGNORECASE)
LOGIN = re.compile(r"://[^/@]*:[^/@]*@")


def secrets_in(text: str) -> list[str]:
    """Return the settings of a DVC config that look like secrets."""
    config = configparser.RawConfigParser()
    config.read_string(text)
    return [
        f"{section}: {name}"
        for section in config.sections()
        for name, value in config.items(section)
        if (SECRET.search(name) and not HARMLESS.search(name)) or LOGIN.search(value)
    ]


def main() -> None:
    """Check the named file, or .dvc/config."""
    path = Path(*sys.argv[1:] or (".dvc/config",))
    try:
        names = secrets_in(path.read_text())
    except configparser.Error as error:
        raise SystemExit(f"{path} cannot be read: {error}") from error
    if names:
        raise SystemExit(
            f"{path} contains a secret ({', '.join(names)}): move it to "
            ".dvc/config.local with `dvc remote modify --local`, and replace it, as "
            "anyone with a copy of the repository may have read it"
        )
