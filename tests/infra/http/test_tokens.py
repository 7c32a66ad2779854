"""Forged, stale and odd bearer tokens. PyJWT is the independent party."""

from __future__ import annotations

import base64
import hmac
import json
import time
import uuid
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from flashorder.infra.http.endpoint import Role
from flashorder.infra.http.tokens import Authenticator, TokenSigner
from flashorder.kernel.errors import Unauthenticated

KEY = b"k" * 64  # long enough for every algorithm that is tried
SIGNER = TokenSigner(KEY, "flashorder", "flashorder", 3600)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": "flashorder", "aud": "flashorder", "sub": str(uuid.uuid4()), "role": "shopper",
        "sid": str(uuid.uuid4()), "jti": uuid.uuid4().hex, "exp": now + 60, "iat": now,
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def authenticator(**options: Any) -> Authenticator:
    return Authenticator(SIGNER, **{"remembered_max": 100, **options})


def refusal_of(token: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        authenticator().caller(f"Bearer {token}")
    return refusal.value.code


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_another_implementation_reads_our_tokens() -> None:
    account_id = uuid.uuid4()
    token = SIGNER.sign(account_id, Role.OPERATOR, "s")
    read = jwt.decode(
        token, KEY, algorithms=["HS256"], issuer="flashorder", audience="flashorder",
        options={"require": ["iss", "aud", "sub", "role", "sid", "jti", "exp", "iat"]},
    )  # fmt: skip
    assert (read["sub"], read["role"]) == (str(account_id), "operator")


def test_we_read_the_tokens_of_another_implementation() -> None:
    good = claims(role="warehouse")
    caller = authenticator().caller(f"bearer {jwt.encode(good, KEY, 'HS256')}")
    assert (str(caller.account_id), caller.role) == (good["sub"], Role.WAREHOUSE)
    assert (caller.session_id, caller.expires_at_unix) == (good["sid"], good["exp"])


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "elsewhere"}, {"aud": "elsewhere"}, {"aud": ["flashorder"]}, {"iss": None},
        {"aud": None}, {"sub": None}, {"sub": "42"}, {"role": None}, {"role": "root"},
        {"sid": None}, {"jti": None}, {"exp": None}, {"exp": "never"}, {"exp": 1e30},
        {"iat": None}, {"nbf": int(time.time()) + 1000},
    ],
)  # fmt: skip
def test_a_signed_token_with_other_claims_is_refused(changes: dict[str, Any]) -> None:
    assert refusal_of(jwt.encode(claims(**changes), KEY, "HS256")) == "token_invalid"


def test_an_expired_token_is_told_apart() -> None:
    token = jwt.encode(claims(exp=int(time.time()) - 1), KEY, "HS256")
    assert refusal_of(token) == "token_expired"


def test_no_algorithm_but_ours_is_spoken() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    payload = encoded(claims())
    forged = [
        jwt.encode(claims(), None, "none"),
        f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{payload}.",
        f"{encoded({'alg': 'None'})}.{payload}.",
        jwt.encode(claims(), private, "RS256"),
        jwt.encode(claims(), KEY, "HS512"),
        jwt.encode(claims(), KEY, "HS256", headers={"kid": "../../dev/null"}),
        jwt.encode(claims(), b"another key, as long as it must be", "HS256"),
        # The public key as the HMAC's: the classic confusion. PyJWT will not sign it, so by hand.
        _signed_by_hand(public),
    ]
    assert {refusal_of(token) for token in forged} == {"token_invalid"}


def _signed_by_hand(key: bytes) -> str:
    signed, _, _ = SIGNER.sign(uuid.uuid4(), Role.OPERATOR, "s").rpartition(".")
    digest = hmac.digest(key, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def test_every_truncation_and_every_flipped_character_is_refused() -> None:
    token = SIGNER.sign(uuid.uuid4(), Role.SHOPPER, "s")
    for length in range(len(token)):
        assert refusal_of(token[:length]) in ("token_invalid", "unauthenticated")
    for index, character in enumerate(token):
        other = "A" if character != "A" else "B"
        assert refusal_of(token[:index] + other + token[index + 1 :]) == "token_invalid"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "\ud800", "x" * 9000])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refusal_of(token) in ("token_invalid", "unauthenticated")


@pytest.mark.parametrize("header", [None, "Basic YTpi", "Bearer", "Token x"])
def test_without_a_bearer_token_nobody_calls(header: str | None) -> None:
    with pytest.raises(Unauthenticated):
        authenticator().caller(header)


def test_a_remembered_token_expires_all_the_same() -> None:
    now = time.time()
    clock = [now]
    reader = authenticator(clock=lambda: clock[0])
    header = f"Bearer {SIGNER.sign(uuid.uuid4(), Role.SHOPPER, 's', lifetime_seconds=10)}"
    assert reader.caller(header) is reader.caller(header)
    clock[0] = now + 11
    with pytest.raises(Unauthenticated) as refusal:
        reader.caller(header)
    assert refusal.value.code == "token_expired"
    assert reader.remembered_count == 0


def test_only_so_many_tokens_are_remembered_and_the_longest_unused_goes_first() -> None:
    reader = authenticator(remembered_max=2)
    first, second, third = (
        f"Bearer {SIGNER.sign(uuid.uuid4(), Role.SHOPPER, str(number))}" for number in range(3)
    )
    kept = reader.caller(first)
    gone = reader.caller(second)
    assert reader.caller(first) is kept
    reader.caller(third)
    assert reader.remembered_count == 2
    assert reader.caller(first) is kept
    assert reader.caller(second) is not gone


def test_a_session_that_ended_is_refused_until_it_is_forgotten() -> None:
    reader = authenticator()
    header = f"Bearer {SIGNER.sign(uuid.uuid4(), Role.SHOPPER, 'ended')}"
    reader.caller(header)
    reader.replace_revoked(["ended"])
    with pytest.raises(Unauthenticated):
        reader.caller(header)
    reader.replace_revoked([])
    assert reader.caller(header)


def test_a_token_is_remembered_once_and_has_one_place_in_the_header() -> None:
    reader = authenticator()
    token = SIGNER.sign(uuid.uuid4(), Role.SHOPPER, "s")
    caller = reader.caller(f"Bearer {token}")
    assert reader.caller(f"BEARER {token}") is caller
    for gap in ("", "  ", "\t", " \t", "   "):
        with pytest.raises(Unauthenticated):
            reader.caller(f"Bearer{gap}{token}")
    for tail in (" ", "\t", "=", "."):
        assert refusal_of(token + tail) == "token_invalid"
    assert reader.remembered_count == 1
