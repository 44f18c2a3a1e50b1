"""Logs the workflows in to storage: with a role of the cloud, or with a stored login.

A role needs no key: GitHub tells the cloud which run asks (OIDC), and the cloud's own
package, which DVC has with it, gets a login for minutes. ``STORAGE_ROLE`` names the
role, in the form that ``ROLES`` has for the kind of storage.

A stored login is the text of .dvc/config.local. A file that it names, such as a key of
ssh, is not on a runner: `python -m mlgitops logins --send` writes its content in place
of its path, and beside it the host keys that ssh is to trust.
"""

import base64
import binascii
import json
import os
import re
import urllib.request
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROLE = "STORAGE_ROLE"  # set by the workflows, from one of the two variables below
READ_ROLE = "STORAGE_READ_ROLE"  # of `train`, which runs a proposal's code
WRITE_ROLE = "STORAGE_WRITE_ROLE"  # of workflows that run main's code only
LOGIN = "STORAGE_LOGIN"  # a secret of environments; it may write
READ_LOGIN = "STORAGE_READ_LOGIN"  # a secret of the repository; it may only read
FILES = ("keyfile", "credentialpath")  # settings of DVC that name a file
HOSTS = "known_hosts"  # of ssh, as text; DVC itself has no such setting
INLINE = "base64:"
TIMEOUT = 30  # seconds for GitHub to hand out the token of a run


class LoginError(Exception):
    """A login cannot be used; the message says why, and never what it is."""


@dataclass(frozen=True)
class Role:
    """How the role of one kind of storage is written, and for whom its token is."""

    pattern: str
    example: str
    audience: str


ROLES = {
    "s3": Role(
        r"arn:[\w-]+:iam::\d*:role/\S+",
        "arn:aws:iam::123456789012:role/NAME",
        "sts.amazonaws.com",
    ),
    "gs": Role(
        r"(?P<provider>projects/\d+/locations/global/workloadIdentityPools/[\w-]+/"
        r"providers/[\w-]+)( (?P<account>[\w.-]+@[\w.-]+))?",
        "projects/123/locations/global/workloadIdentityPools/POOL/providers/PROVIDER "
        "NAME@PROJECT.iam.gserviceaccount.com",
        "https://iam.googleapis.com/{provider}",
    ),
    "azure": Role(
        r"(?P<tenant>[0-9a-fA-F-]{36})/(?P<client>[0-9a-fA-F-]{36})",
        "TENANT-ID/CLIENT-ID",
        "api://AzureADTokenExchange",
    ),
}


def given() -> bool:
    """Tell whether this process was given a login of the workflows."""
    return bool(os.environ.get(ROLE) or os.environ.get(LOGIN))


def environment(kind: str, folder: Path) -> dict[str, str]:
    """Return the variables by which the packages of storage find the login.

    Files that they name are written to ``folder``, for this user only.

    Raises:
        LoginError: the kind has no roles, the role is malformed, or GitHub gave no
            token.
    """
    hosts = folder / ".ssh" / HOSTS
    found = {"HOME": str(folder)} if hosts.is_file() else {}  # where asyncssh looks
    role = os.environ.get(ROLE, "").strip()
    if not role:
        return found
    values = _values(kind, role)
    audience = ROLES[kind].audience.format(**values)
    if kind == "gs":
        file = _write(folder / "google.json", _google(values, audience))
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    token = str(_write(folder / "token", _token(audience)))
    if kind == "azure":
        ids = {f"AZURE_{name.upper()}_ID": value for name, value in values.items()}
        return {**ids, "AZURE_FEDERATED_TOKEN_FILE": token}
    session = {"AWS_ROLE_ARN": role, "AWS_ROLE_SESSION_NAME": "mlgitops"}
    return {**session, "AWS_WEB_IDENTITY_TOKEN_FILE": token}


def unpack(settings: MutableMapping[str, str], folder: Path) -> None:
    """Write what a stored login has in place of files; name the files instead.

    Raises:
        LoginError: the content of a file is damaged.
    """
    if text := settings.pop(HOSTS, ""):
        _write(folder / ".ssh" / HOSTS, _text(HOSTS, text))
    for name in FILES:
        if settings.get(name, "").startswith(INLINE):
            content = _text(name, settings[name])
            settings[name] = str(_write(folder / name, content))


def pack(text: str) -> str:
    """Return the content of a file as a value of a setting."""
    return INLINE + base64.b64encode(text.encode()).decode()


def _text(name: str, value: str) -> str:
    """Return the content of a file that a setting holds."""
    try:
        return base64.b64decode(value.removeprefix(INLINE), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise LoginError(
            f"{name} of the stored login is damaged: type `python -m mlgitops logins "
            "--send` where .dvc/config.local is right"
        ) from None


def _values(kind: str, role: str) -> dict[str, str]:
    """Return the parts of a role, by name."""
    if kind not in ROLES:
        raise LoginError(
            f"{kind or 'this'} storage has no roles ({', '.join(ROLES)} have): delete "
            f"the variables {READ_ROLE} and {WRITE_ROLE}, and store a login instead"
        )
    match = re.fullmatch(ROLES[kind].pattern, role)
    if match is None:
        raise LoginError(
            f"the role of storage has to look like `{ROLES[kind].example}`: set the "
            f"variables {READ_ROLE} and {WRITE_ROLE} again"
        )
    return {name: value for name, value in match.groupdict().items() if value}


def _request(audience: str) -> tuple[str, str]:
    """Return where GitHub hands out a token for an audience, and the right to ask.

    Source: docs.github.com, "OpenID Connect reference".
    """
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
    bearer = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    if not (url and bearer):
        raise LoginError(
            "this run has no right to a token of GitHub's, which the role of storage "
            "needs: the job lacks `id-token: write`, or the proposal is from a fork"
        )
    return f"{url}&audience={quote(audience, safe='')}", f"bearer {bearer}"


def _token(audience: str) -> str:
    """Return a token of GitHub's that says to an audience which run this is."""
    url, bearer = _request(audience)
    request = urllib.request.Request(url, headers={"Authorization": bearer})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            return str(json.loads(answer.read())["value"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = type(error).__name__
        raise LoginError(f"GitHub gave no token for storage ({problem})") from error


def _google(values: dict[str, str], audience: str) -> str:
    """Return Google's settings for a role; its package asks GitHub by itself.

    Source: google.aip.dev/auth/4117, "External account credentials".
    """
    url, bearer = _request(audience)
    form = {"type": "json", "subject_token_field_name": "value"}
    source = {"url": url, "headers": {"Authorization": bearer}, "format": form}
    settings: dict[str, object] = {
        "type": "external_account",
        "audience": audience.removeprefix("https:"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
    }
    if account := values.get("account"):
        settings["service_account_impersonation_url"] = (
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
            f"{account}:generateAccessToken"
        )
    return json.dumps(settings)


def _write(file: Path, text: str) -> Path:
    """Write a file that only this user can read; return its path."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as to:
        to.write(text)
    return file
