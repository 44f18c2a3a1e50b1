"""Signatures with the secret SIGNING_KEY, checked against signing.pub on main.

Git signs tags through ssh-keygen, which takes the same elliptic curve key that openssl
makes. Without a key tags are annotated and not signed, and the audit says so.

Files are signed by ECDSA over SHA-256, which openssl alone can check. The manifest
names every byte of a version, so its signature is the version's:

    openssl dgst -sha256 -verify signing.pub -signature manifest.json.sig manifest.json

So are releases: ``register``, the one job that has the key, writes to the ledger which
version, server and image it has verified, and their signature. Each record that targets
follow carries it; without it nothing is deployed and no host agent follows, where main
has ``signing.pub``. The environment and the order of records are not signed.
"""

import base64
import json
import os
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

from mlgitops import git
from mlgitops.ledger import Ledger
from mlgitops.release import Record, ReleaseError

PUBLIC = Path("signing.pub")
COMMANDS = (
    "type `openssl ecparam -name prime256v1 -genkey -noout -out signing.pem`, "
    "`openssl ec -in signing.pem -pubout -out signing.pub` and "
    "`gh secret set SIGNING_KEY --env register < signing.pem`, and commit signing.pub"
)
SIGNER = "registry@localhost"
TAGGER = {"GIT_COMMITTER_NAME": "registry", "GIT_COMMITTER_EMAIL": SIGNER}
NONE, GOOD = "not signed", "signed with the key of signing.pub"
BAD = "signed with another key than that of signing.pub"
FIELDS = ("version", "tag", "manifest_sha256", "commit", "server", "image")
UNKNOWN = "signed; there is no signing.pub to check it with"


def sign(tag: str, commit: str, message: str) -> None:
    """Write an annotated tag here once more, signed, if there is a key.

    Raises:
        ReleaseError: the secret is no key that ssh-keygen takes.
    """
    key = os.environ.get("SIGNING_KEY", "").strip()
    if not key:
        return
    with TemporaryDirectory() as folder:
        file = Path(folder, "key")
        file.touch(mode=0o600)
        file.write_text(f"{key}\n")
        # ssh-keygen signs with a key of openssl's only if its public half is beside it
        public = run(("ssh-keygen", "-y", "-f", str(file)), capture_output=True)
        file.with_suffix(".pub").write_bytes(public.stdout)
        config = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={file}")
        args = (*config, "tag", "-f", "-s", "-m", message, tag, commit)
        output = git.run(*args, check=False, env=TAGGER)
    if state(tag) == NONE:  # git may print nothing when a key does not work
        git.run("tag", "-d", tag, check=False)
        reason = public.stderr.decode().strip() or output or "git did not sign it"
        raise ReleaseError(f"SIGNING_KEY cannot sign {tag}: {reason[-200:]}")


def state(tag: str) -> str:
    """Return whether a tag is signed, and with whose key, for people."""
    text = git.run("for-each-ref", f"refs/tags/{tag}", "--format=%(contents:signature)")
    if not text or not PUBLIC.is_file():
        return UNKNOWN if text else NONE
    # main's public key as ssh-keygen wants to see it
    command = ("ssh-keygen", "-i", "-m", "PKCS8", "-f", str(PUBLIC))
    done = run(command, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"{PUBLIC} is not a public key: {done.stderr.strip()}")
    with TemporaryDirectory() as folder:
        file = Path(folder, "signers")
        file.write_text(f"{SIGNER} {done.stdout}")
        config = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={file}")
        try:
            git.run(*config, "verify-tag", tag)
        except git.GitError:
            return BAD
    return GOOD


def publish(release: Record) -> None:
    """Put the signature of a release on the ledger, if there is a key; only once.

    Raises:
        ReleaseError: the secret is no such key, or main's signing.pub is another's.
    """
    signed = of_files({"release": statement(release)}, ["release"])
    if not signed:
        return
    ledger = Ledger()
    if of_release(ledger, release):
        return
    signature = base64.b64encode(signed["release.sig"]).decode()
    about = {name: release[name] for name in FIELDS}

    def files(seq: int) -> dict[str, Record]:
        path = f"signatures/{release['manifest_sha256']}/{seq:08d}.json"
        return {path: {**about, "schema": 1, "seq": seq, "signature": signature}}

    ledger.append(files, f"sign {release['tag']}")


def of_release(ledger: Ledger, release: Record) -> str | None:
    """Return the signature of a release with the key of main; None if it has none."""
    if not PUBLIC.is_file():
        return None
    for record in reversed(ledger.signatures(release["manifest_sha256"])):
        if statement(record) == statement(release) and good(record):
            return str(record["signature"])
    return None


def demand(ledger: Ledger, release: Record) -> str | None:
    """Return the signature of a release, which it has to have where main has a key.

    Raises:
        ReleaseError: main has a key, and the release is not signed with it.
    """
    signature = of_release(ledger, release)
    if signature or not PUBLIC.is_file():
        return signature
    other = ""
    if state(release["tag"]) == BAD:
        other = f". Its tag is {BAD}: if the key was not changed, find out who wrote it"
    raise ReleaseError(
        f"{release['tag']}, with this server and image, is not signed, and main has "
        f"{PUBLIC}, so that no host follows it. What main names is signed by `gh "
        "workflow run deploy.yml`, if the environment register has the secret "
        "SIGNING_KEY; a version that is older than the key returns by a pull request "
        f"that proposes it again{other}"
    )


def trusted(record: Record) -> bool:
    """Tell whether a release is signed with the key of main, if main has one."""
    return not PUBLIC.is_file() or good(record)


def good(record: Record) -> bool:
    """Tell whether the signature that a release's record carries is main's key's.

    Raises:
        ReleaseError: signing.pub is not a public key.
    """
    # Here, so that a deployment starts without them.
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        public = serialization.load_pem_public_key(PUBLIC.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ReleaseError(f"{PUBLIC} is not a public key: {COMMANDS}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ReleaseError(f"{PUBLIC} is not an elliptic curve key: {COMMANDS}")
    try:
        signature = base64.b64decode(str(record.get("signature") or ""))
        public.verify(signature, statement(record), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def statement(release: Record) -> bytes:
    """Return the bytes that a release's signature is about."""
    fields = {name: release.get(name) for name in FIELDS}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def of_files(files: dict[str, bytes], names: list[str]) -> dict[str, bytes]:
    """Return a signature for each of the named files, where there is a key.

    Raises:
        ReleaseError: the secret is no such key, or main's signing.pub is another's.
    """
    text = os.environ.get("SIGNING_KEY", "").strip()
    if not text:
        return {}
    # Here, so that a deployment starts without them.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        private = serialization.load_pem_private_key(text.encode(), None)
        public = serialization.load_pem_public_key(PUBLIC.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ReleaseError(
            f"SIGNING_KEY or signing.pub is not usable: {COMMANDS}"
        ) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ReleaseError(f"SIGNING_KEY is not an elliptic curve key: {COMMANDS}")
    if private.public_key() != public:
        raise ReleaseError(f"signing.pub does not belong to SIGNING_KEY: {COMMANDS}")
    method = ec.ECDSA(hashes.SHA256())
    return {f"{name}.sig": private.sign(files[name], method) for name in names}
