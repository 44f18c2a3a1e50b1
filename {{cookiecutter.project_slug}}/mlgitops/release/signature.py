"""Signatures with the secret SIGNING_KEY, checked against signing.pub on main.

Git signs tags through ssh-keygen, which takes the same elliptic curve key that openssl
makes. Without a key tags are annotated and not signed, and the audit says so.

Files are signed by ECDSA over SHA-256, which openssl alone can check. The manifest
names every byte of a version, so its signature is the version's:

    openssl dgst -sha256 -verify signing.pub -signature manifest.json.sig manifest.json
"""

import os
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

from mlgitops import git
from mlgitops.release import ReleaseError

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


def demand(tag: str, new: bool = True) -> None:
    """Refuse a tag of another key; a new one has to be signed where main has a key.

    Raises:
        ReleaseError: it is not, or not signed at all.
    """
    signed = state(tag)
    if signed == BAD or (new and signed == NONE and PUBLIC.is_file()):
        raise ReleaseError(
            f"the tag {tag} is {signed}, and main has {PUBLIC}: find out who wrote it "
            "before anything is deployed"
        )


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
