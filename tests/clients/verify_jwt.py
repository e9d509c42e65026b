"""Verifies a signed token with published keys, as a service that trusts the server would.

Reads {"jwks": {...}, "token": "..."} and prints the claims.
"""

import base64
import json
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(data):
    return int.from_bytes(data, "big")


def verify(key, algorithm, message, signature):
    """Raises when the signature is not the one of the key's owner."""
    if algorithm == "EdDSA":
        ed25519.Ed25519PublicKey.from_public_bytes(decoded(key["x"])).verify(signature, message)
        return
    digest = HASHES[algorithm[2:]]
    if algorithm.startswith("RS"):
        numbers = rsa.RSAPublicNumbers(number(decoded(key["e"])), number(decoded(key["n"])))
        numbers.public_key().verify(signature, message, padding.PKCS1v15(), digest)
        return
    numbers = ec.EllipticCurvePublicNumbers(
        number(decoded(key["x"])), number(decoded(key["y"])), CURVES[key["crv"]]
    )
    half = len(signature) // 2
    signature = encode_dss_signature(number(signature[:half]), number(signature[half:]))
    numbers.public_key().verify(signature, message, ec.ECDSA(digest))


def main():
    asked = json.load(sys.stdin)
    signed, signature = asked["token"].rsplit(".", 1)
    header, claims = (json.loads(decoded(part)) for part in signed.split("."))
    key = next(key for key in asked["jwks"]["keys"] if key["kid"] == header["kid"])
    if key["alg"] != header["alg"]:
        raise SystemExit("the token names another algorithm than the key")
    verify(key, header["alg"], signed.encode(), decoded(signature))
    print(json.dumps(claims))


main()
