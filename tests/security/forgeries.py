"""Tokens that nobody may be let in with, each with the code of the refusal."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flashorder.infra.http.tokens import TokenSigner

INVALID, EXPIRED, NONE = "token_invalid", "token_expired", "unauthenticated"
Forgery = tuple[str, dict[str, str], str]
"""What it tries, the headers that try it, and the code that refuses it."""


def forgeries(signer: TokenSigner, good: str) -> Iterator[Forgery]:
    """Every forgery; ``good`` is a token that holds, of whom would be let in."""
    yield from _no_token(good)
    for name, token in (
        *_garbled(good),
        *_unsigned(good),
        *_confused(signer, good),
        *_with_header(signer, good),
        *_with_claims(signer, good),
    ):
        yield name, {"Authorization": f"Bearer {token}"}, INVALID
    for name, token in _expired(signer, good):
        yield name, {"Authorization": f"Bearer {token}"}, EXPIRED


def _no_token(good: str) -> Iterator[Forgery]:
    yield "no token", {}, NONE
    yield "empty header", {"Authorization": ""}, NONE
    yield "another scheme", {"Authorization": f"Basic {good}"}, NONE
    yield "no scheme", {"Authorization": good}, NONE
    yield "in a cookie", {"Cookie": f"token={good}; access_token={good}"}, NONE
    yield "in another header", {"X-Authorization": f"Bearer {good}", "X-Access-Token": good}, NONE
    yield "a role of its own", {"X-Role": "operator", "X-User": str(uuid.uuid4())}, NONE
    yield "as a proxy says it", {"X-Original-Url": "/healthz", "X-Forwarded-User": "root"}, NONE
    yield "scheme alone", {"Authorization": "Bearer"}, INVALID
    yield "two tokens", {"Authorization": f"Bearer {good} {good}"}, INVALID
    yield "two tokens with a comma", {"Authorization": f"Bearer {good}, Bearer {good}"}, INVALID
    yield "two spaces", {"Authorization": f"Bearer  {good}"}, INVALID


def _garbled(good: str) -> Iterator[tuple[str, str]]:
    head, payload, signature = good.split(".")
    yield "malformed", "x"
    yield "only dots", ".."
    yield "many dots", "." * 50
    yield "no signature", f"{head}.{payload}"
    yield "empty signature", f"{head}.{payload}."
    yield "short signature", f"{head}.{payload}.{signature[:-1]}"
    yield "long signature", f"{head}.{payload}.{signature}A"
    yield "padded signature", f"{head}.{payload}.{signature}="
    yield "other signature", f"{head}.{payload}.{signature[::-1]}"
    yield "last bit of the signature", f"{head}.{payload}.{_with_last_bit_turned(signature)}"
    yield "five parts (JWE)", f"{head}.{payload}.{signature}.{payload}.{signature}"
    yield "too long", f"{head}.{payload}.{signature}" + "A" * 4000
    yield "not ASCII", f"{head}.{payload}.{signature[:-1]}\xe9"
    yield "bytes of JSON as they are", '{"alg":"none"}.{"role":"operator"}.'
    yield "empty payload", f"{head}..{signature}"
    yield "role raised", f"{head}.{_encoded(_claims(good) | {'role': 'operator'})}.{signature}"


def _unsigned(good: str) -> Iterator[tuple[str, str]]:
    _, payload, signature = good.split(".")
    for spelling in ("none", "None", "NONE", "nOnE", ""):
        header = _encoded({"alg": spelling, "typ": "JWT"})
        yield f"alg {spelling!r}, unsigned", f"{header}.{payload}."
        yield f"alg {spelling!r}, with the old signature", f"{header}.{payload}.{signature}"
    yield "no alg", f"{_encoded({'typ': 'JWT'})}.{payload}.{signature}"


def _confused(signer: TokenSigner, good: str) -> Iterator[tuple[str, str]]:
    """Signed, but not by the one algorithm and the one key that there are."""
    claims = _claims(good)
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    yield "RS256", jwt.encode(claims, private, algorithm="RS256")
    yield "ES256", jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")
    yield "EdDSA", jwt.encode(claims, ed25519.Ed25519PrivateKey.generate(), algorithm="EdDSA")
    # What a library that takes the algorithm from the token makes of a public key: a secret.
    yield "HS256 by a public key", _signed({"alg": "HS256", "typ": "JWT"}, claims, public)
    yield "RS256 by our key", _signed({"alg": "RS256", "typ": "JWT"}, claims, signer.key)
    yield "HS256 by nothing", _signed({"alg": "HS256", "typ": "JWT"}, claims, b"")
    for guess in ("secret", signer.issuer, "0" * 64):
        yield f"HS256 by {guess!r}", _signed({"alg": "HS256", "typ": "JWT"}, claims, guess.encode())
    for algorithm in ("HS384", "HS512"):
        yield f"{algorithm} by our key", jwt.encode(claims, signer.key.ljust(64), algorithm)


def _with_header(signer: TokenSigner, good: str) -> Iterator[tuple[str, str]]:
    """Signed by our key, but with a header that wants to choose it."""
    claims = _claims(good)
    for name, value in (
        ("kid", "another"),
        ("kid", "../../../../dev/null"),
        ("kid", "' UNION SELECT 'secret' --"),
        ("kid", "| id"),
        ("jku", "http://127.0.0.1:1/keys.json"),
        ("x5u", "http://169.254.169.254/latest/meta-data"),
        ("jwk", {"kty": "oct", "k": "c2VjcmV0"}),
        ("crit", ["exp"]),
        ("zip", "DEF"),
        ("cty", "JWT"),
        ("b64", False),
    ):
        header = {"alg": "HS256", "typ": "JWT", name: value}
        yield f"{name} {value}", _signed(header, claims, signer.key)
    yield "typ first", _signed({"typ": "JWT", "alg": "HS256"}, claims, signer.key)


def _with_claims(signer: TokenSigner, good: str) -> Iterator[tuple[str, str]]:
    """Signed by our key and well, but of claims that do not hold."""
    claims = _claims(good)
    now = int(time.time())
    changes: list[dict[str, Any]] = [
        {"aud": "another"}, {"aud": [claims["aud"]]}, {"aud": ""}, {"aud": None},
        {"iss": "another"}, {"iss": f"{claims['iss']} "}, {"nbf": now + 3600},
        {"role": "root"}, {"role": "Operator"}, {"role": ["operator"]}, {"role": None},
        {"sub": "not a uuid"}, {"sub": ""}, {"sub": 1}, {"sub": None}, {"sub": "' OR 1=1 --"},
        {"exp": "tomorrow"}, {"exp": None}, {"exp": 1e300}, {"exp": True}, {"exp": [now + 60]},
        {"sid": None}, {"sid": 1}, {"jti": None}, {"iat": "now"},
    ]  # fmt: skip
    for change in changes:
        yield f"{change}", _signed(_HEADER, claims | change, signer.key)
    for name in claims:
        without = {key: value for key, value in claims.items() if key != name}
        yield f"without {name}", _signed(_HEADER, without, signer.key)
    for body in ([], "text", 1, None):
        yield f"claims {body!r}", _signed(_HEADER, body, signer.key)


def _expired(signer: TokenSigner, good: str) -> Iterator[tuple[str, str]]:
    claims, now = _claims(good), int(time.time())
    for exp in (now - 1, 0, -(2**40)):
        yield f"expired at {exp}", _signed(_HEADER, claims | {"exp": exp}, signer.key)


_HEADER = {"alg": "HS256", "typ": "JWT"}


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _signed(header: Any, claims: Any, key: bytes) -> str:
    signed = f"{_encoded(header)}.{_encoded(claims)}"
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return f"{signed}.{_base64(signature.sign(signed.encode(), key))}"


def _encoded(value: Any) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _with_last_bit_turned(signature: str) -> str:
    """Another spelling of the same bytes: the last of 43 characters has two bits to spare."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return signature[:-1] + alphabet[alphabet.index(signature[-1]) ^ 1]
