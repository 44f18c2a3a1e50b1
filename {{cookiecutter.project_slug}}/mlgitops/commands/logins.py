"""Lists the logins of the workflows to storage, and sends stored ones to GitHub.

    python -m mlgitops logins           what GitHub has, and what to type for the rest
    python -m mlgitops logins --send    the stored logins of .dvc to GitHub's secrets

| login | for | where |
|---|---|---|
| role that writes | validate, monitor, score | variable STORAGE_WRITE_ROLE |
| role that reads | train, register, rollback, reproduce | variable STORAGE_READ_ROLE |
| stored, writes | all of these but train | secret STORAGE_LOGIN of each environment |
| stored, reads | train | secret STORAGE_READ_LOGIN of the repository |

Before a stored login is sent it is tried: that of .dvc/config.local has to write, that
of .dvc/config.reader must not. Files that they name are sent in their place, and for
ssh the keys by which ~/.ssh/known_hosts knows the host.
"""

import argparse
import configparser
import io
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from mlgitops import github, login, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.release.environments import RESERVED, names
from mlgitops.storage import StorageError
from mlgitops.store import rights


def main() -> None:
    """List, or send and list."""
    parser = argparse.ArgumentParser(
        prog="python -m mlgitops logins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--send", action="store_true", help="send the stored logins")
    with expected_errors():
        if parser.parse_args().send:
            for sentence in send():
                print(sentence)
        problems = lacking()
        print("\n".join(problems) or "GitHub has every login that storage needs.")
    if problems:
        raise SystemExit(1)


def lacking() -> list[str]:
    """Return what the workflows lack to log in to storage, and what to type."""
    kind = storage.kind()
    if not kind:
        return []
    variables = {name for name, value in github.variables().items() if value}
    roles = {login.READ_ROLE, login.WRITE_ROLE} & variables
    absent = {login.READ_ROLE, login.WRITE_ROLE} - roles
    if roles and kind not in login.ROLES:
        return [
            f"{' and '.join(sorted(roles))} cannot be used, as {kind} has no roles: "
            f"type `gh variable delete NAME`, then `python -m mlgitops logins --send`"
        ]
    if roles:
        return [
            f"no variable {name}: type `gh variable set {name} --body "
            f"{login.ROLES[kind].example!r}`"
            for name in sorted(absent)
        ]
    return _stored(kind)


def _stored(kind: str) -> list[str]:
    """Return which stored logins GitHub lacks, where no variable names a role."""
    roles = ""
    if kind in login.ROLES:
        roles = f" (or set {login.READ_ROLE} and {login.WRITE_ROLE}: docs/storage.md)"
    type_ = f"type `python -m mlgitops logins --send`{roles}"
    wanted = (*RESERVED, *names())
    found = []
    if without := [e for e in wanted if login.LOGIN not in secrets(e)]:
        found.append(
            f"no {login.LOGIN} in environment {', '.join(without)}: the workflows "
            f"cannot log in to storage; {type_}"
        )
    if login.READ_LOGIN not in secrets():
        found.append(
            f"no {login.READ_LOGIN}: `train`, which runs a proposal's code, reads "
            f"storage only where anybody may; write .dvc/{rights.READER} with a login "
            f"that only reads, then {type_}"
        )
    return found


def secrets(environment: str = "") -> list[str]:
    """Return the names of the secrets of the repository, or of an environment.

    An environment that does not exist has none.
    """
    path = f"environments/{environment}/secrets" if environment else "actions/secrets"
    try:
        entries = github.entries(path, "secrets")
    except github.GitHubError as error:
        if error.status != 404:
            raise
        return []
    return [str(secret["name"]) for secret in entries]


def send() -> list[str]:
    """Send the stored logins that are here; return what was done, as sentences.

    Raises:
        StorageError: a login is absent, or has not the rights that it needs.
    """
    writer, reader = text(storage.LOCAL), text(rights.READER)
    done = []
    if writer:
        probed = rights.probe()
        if problem := probed.write or probed.read:
            raise StorageError(
                f"nothing was sent: the login in .dvc/{storage.LOCAL} cannot be used "
                f"to write and read: {problem}"
            )
        for environment in (*RESERVED, *names()):
            _set(login.LOGIN, writer, "--env", environment)
        done.append(f"{login.LOGIN}: sent to {', '.join((*RESERVED, *names()))}")
    if reader:
        probed = rights.probe(rights.READER)
        if probed.write and not probed.denied:
            raise StorageError(
                f"{login.READ_LOGIN} was not sent: whether the login in "
                f".dvc/{rights.READER} may write cannot be tried: {probed.write}"
            )
        if not probed.write:
            raise StorageError(
                f"{login.READ_LOGIN} was not sent: the login in .dvc/{rights.READER} "
                "may write, and `train` runs a proposal's code with it"
            )
        _set(login.READ_LOGIN, reader)
        done.append(f"{login.READ_LOGIN}: sent; it cannot write")
    if not done:
        raise StorageError(
            "there is no login here: type `dvc remote modify --local storage ...`, "
            f"which writes .dvc/{storage.LOCAL}"
        )
    return done


def text(local: str) -> str:
    """Return a stored login as a secret has it, with the files that it names."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(Path(".dvc", local))
    if not config.has_section(storage.SECTION):
        return ""
    section = config[storage.SECTION]
    for name in login.FILES:
        if name in section:
            section[name] = login.pack(_content(section[name], local))
    if storage.kind() == "ssh":
        section[login.HOSTS] = login.pack(host_keys(storage.url()))
    out = io.StringIO()
    config.remove_section("core")
    config.write(out)
    return out.getvalue()


def _content(path: str, local: str) -> str:
    """Return the text of a file that a login names."""
    try:
        return Path(path.strip("\"'")).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(
            f"{path}, which .dvc/{local} names, cannot be read: {error}"
        ) from None


def host_keys(address: str) -> str:
    """Return the lines by which this machine knows the host of an ssh address.

    Raises:
        StorageError: it does not know the host.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    name = f"[{host}]:{parts.port}" if parts.port and parts.port != 22 else host
    command = ("ssh-keygen", "-F", name)
    try:
        found = subprocess.run(command, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise StorageError("ssh-keygen is missing: install openssh-client") from None
    lines = [line for line in found.splitlines() if not line.startswith("#")]
    if not lines:
        raise StorageError(
            f"~/.ssh/known_hosts does not know {name}: type `ssh {host}"
            f"{f' -p {parts.port}' if parts.port else ''}` once, and compare the key "
            "that it shows with the host's"
        )
    return "\n".join(lines) + "\n"


def _set(name: str, value: str, *where: str) -> None:
    """Set a secret on GitHub; its value is on no command line."""
    command = ("gh", "secret", "set", name, "--repo", github.repo(), *where)
    done = subprocess.run(command, input=value, capture_output=True, text=True)
    if done.returncode:
        problem = " ".join(done.stderr.split())
        raise StorageError(f"GitHub did not take the secret {name}: {problem}")
