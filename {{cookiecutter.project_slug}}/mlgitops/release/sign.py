"""Signatures: ECDSA over SHA-256 with a key of yours, checked with openssl alone.

    openssl dgst -sha256 -verify signing.pub -signature manifest.json.sig manifest.json

The manifest names every byte of a version, so its signature is the version's. The
private key is the secret SIGNING_KEY, the public one is the file signing.pub on main.
"""

import os

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlgitops.release import ReleaseError
from mlgitops.release.signature import PUBLIC

COMMANDS = (
    "type `openssl ecparam -name prime256v1 -genkey -noout -out signing.pem`, "
    "`openssl ec -in signing.pem -pubout -out signing.pub` and "
    "`gh secret set SIGNING_KEY --env register < signing.pem`, and commit signing.pub"
)


def key() -> ec.EllipticCurvePrivateKey | None:
    """Return the private key, or None where there is none.

    Raises:
        ReleaseError: the secret is no such key, or main's signing.pub is another's.
    """
    text = os.environ.get("SIGNING_KEY", "").strip()
    if not text:
        return None
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
    return private


def signatures(files: dict[str, bytes], names: list[str]) -> dict[str, bytes]:
    """Return a signature for each of the named files, where there is a key."""
    private, method = key(), ec.ECDSA(hashes.SHA256())
    if private is None:
        return {}
    return {f"{name}.sig": private.sign(files[name], method) for name in names}
