"""Revoked tokens, tokens that are valid for too long, and tokens of two secrets."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import jwt
import pytest
from typer.testing import CliRunner

from functions.shared import revocations
from functions.shared.auth import Authenticator, RevocationsUnavailable, Unauthenticated
from functions.shared.settings import AuthSettings
from infra.cli import app
from infra.operations import revoked_tokens
from infra.operations.token import sign

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

SECRET = "a secret of thirty-two characters, at least"


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(revocations, "time", clock)
    return clock


@pytest.fixture
def manager(aws: None) -> "SecretsManagerClient":
    return boto3.client("secretsmanager")


@pytest.fixture
def arn(manager: "SecretsManagerClient", monkeypatch: pytest.MonkeyPatch) -> str:
    arn = manager.create_secret(Name="revocations", SecretString="{}")["ARN"]
    monkeypatch.setenv("AUTH_REVOCATIONS_ARN", arn)
    return arn


@pytest.fixture
def authenticator(arn: str) -> Authenticator:
    return Authenticator(AuthSettings(secret=SECRET, revocations_arn=arn))


def token(**claims: Any) -> dict[str, str]:
    now = int(time.time())
    standard = {"sub": "5", "exp": now + 600, "iat": now - 60, "iss": "issuer", "jti": "one"}
    kept = {name: value for name, value in (standard | claims).items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(kept, SECRET)}"}


def run(*arguments: str, given: str = "") -> str:
    result = CliRunner().invoke(app, ["token", *arguments], input=given)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("revoked", "claims", "counts"),
    [
        ("--jti=one", {}, False),
        ("--jti=one", {"jti": "other"}, True),
        ("--jti=one", {"jti": None}, True),
        ("--jti=one --issuer=issuer", {}, False),
        ("--jti=one --issuer=other", {}, True),
        ("--sub=5", {}, False),
        ("--sub=5", {"iat": None}, False),
        ("--sub=5", {"sub": "6"}, True),
        ("--sub=5 --before=5m", {}, True),
        ("--sub=5 --before=5m", {"iat": int(time.time()) - 600}, False),
        ("--sub=5 --issuer=other", {}, True),
        ("--sub=5 --issuer=issuer", {"iss": None}, True),
        ("--jti=one --jti=two --sub=7", {"jti": "two"}, False),
    ],
)
def test_a_revoked_token_no_longer_counts(
    revoked: str, claims: dict[str, Any], counts: bool, authenticator: Authenticator
) -> None:
    run("revoke", *revoked.split())
    if counts:
        authenticator.grant(token(**claims))
    else:
        with pytest.raises(Unauthenticated, match="revoked"):
            authenticator.grant(token(**claims))


def test_a_token_is_revoked_by_itself_until_it_has_expired(authenticator: Authenticator) -> None:
    made, other = (sign(SECRET, "5", [], [], timedelta(hours=1)) for _ in range(2))
    run("revoke", "--token", given=f"{made}\n")
    with pytest.raises(Unauthenticated, match="revoked"):
        authenticator.grant({"Authorization": f"Bearer {made}"})
    authenticator.grant({"Authorization": f"Bearer {other}"})
    assert jwt.decode(made, options={"verify_signature": False})["jti"] in run("list")


def test_a_function_knows_of_it_within_a_minute_and_of_what_was_forgotten(
    authenticator: Authenticator, clock: Clock
) -> None:
    authenticator.grant(token())
    run("revoke", "--sub", "5")
    authenticator.grant(token())
    clock.now += 61
    with pytest.raises(Unauthenticated):
        authenticator.grant(token())
    assert run("forget", "--sub", "5") == "1 removed from the list of revoked tokens.\n"
    clock.now += 61
    authenticator.grant(token())


def test_an_unreadable_revocation_list_leaves_the_last_one_valid_for_15_minutes(
    authenticator: Authenticator, manager: "SecretsManagerClient", arn: str, clock: Clock
) -> None:
    manager.put_secret_value(SecretId=arn, SecretString='{"revoked": [{"jti": "one"}]}')
    with pytest.raises(Unauthenticated):
        authenticator.grant(token())
    manager.put_secret_value(SecretId=arn, SecretString="nonsense")
    for _ in range(2):
        clock.now += 449
        with pytest.raises(Unauthenticated):
            authenticator.grant(token())
        authenticator.grant(token(jti="other"))
    clock.now += 11
    with pytest.raises(RevocationsUnavailable, match="again"):
        authenticator.grant(token(jti="other"))
    manager.put_secret_value(SecretId=arn, SecretString="{}")
    clock.now += 11
    authenticator.grant(token())


@pytest.mark.parametrize("text", [None, "", "[]", '{"revoked": 5}', '{"revoked": [{"jti": 5}]}'])
def test_a_function_that_has_never_read_the_list_accepts_no_token(
    text: str | None, authenticator: Authenticator, manager: "SecretsManagerClient", arn: str
) -> None:
    if text is None:
        manager.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    else:
        manager.put_secret_value(SecretId=arn, SecretString=text or " ")
    with pytest.raises(RevocationsUnavailable):
        authenticator.grant(token())
    with pytest.raises(Unauthenticated):
        authenticator.grant({"Authorization": "Bearer x"})


def test_the_list_is_read_once_a_minute_and_while_it_fails_every_ten_seconds(
    authenticator: Authenticator,
    manager: "SecretsManagerClient",
    arn: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = 0
    read = revocations.RevocationList.read

    def counted(text: str) -> revocations.RevocationList:
        nonlocal reads
        reads += 1
        return read(text)

    monkeypatch.setattr(revocations.RevocationList, "read", counted)
    for _ in range(10):
        authenticator.grant(token())
    assert reads == 1
    manager.put_secret_value(SecretId=arn, SecretString="nonsense")
    clock.now += 61
    for _ in range(10):
        authenticator.grant(token())
    assert reads == 2
    clock.now += 10
    authenticator.grant(token())
    assert reads == 3


def test_what_two_people_revoke_at_once_is_all_revoked(
    manager: "SecretsManagerClient", arn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Callable[..., Any] = manager.put_secret_value
    others = iter(["other", "third"])

    def put_secret_value(**arguments: Any) -> Any:
        if (jti := next(others, None)) is not None:  # another is faster
            revoked_tokens.revoke(boto3.client("secretsmanager"), arn, revocations.Revocation(jti=jti))
        return write(**arguments)

    monkeypatch.setattr(manager, "put_secret_value", put_secret_value)
    revoked_tokens.revoke(manager, arn, revocations.Revocation(jti="one"))
    assert {one.jti for one in revoked_tokens.read(manager, arn).revoked} == {"one", "other", "third"}


def test_the_list_forgets_what_has_expired_and_says_when_it_is_full(manager: "SecretsManagerClient", arn: str) -> None:
    expired = revocations.Revocation(jti="old", until=int(time.time()) - 1)
    manager.put_secret_value(
        SecretId=arn, SecretString=json.dumps({"revoked": [{"jti": "old", "until": expired.until}]})
    )
    many = [revocations.Revocation(jti=f"{number:036}", until=2**32) for number in range(900)]
    revoked_tokens.revoke(manager, arn, *many[:700])
    revoked_tokens.revoke(manager, arn, many[0])
    assert len(revoked_tokens.read(manager, arn).revoked) == 700
    with pytest.raises(revoked_tokens.RevocationError, match="is full"):
        revoked_tokens.revoke(
            manager, arn, *many, *(revocations.Revocation(jti="x" * 1000 + str(n)) for n in range(40))
        )
    assert len(revoked_tokens.read(manager, arn).revoked) == 700


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (["revoke"], "", "give one of these options"),
        (["forget"], "", "give one of these options"),
        (["revoke", "--token"], "nonsense", "no token with a jti"),
        (["revoke", "--token"], jwt.encode({"sub": "5", "exp": 1}, SECRET), "no token with a jti"),
        (["revoke", "--sub", "5", "--before", "soon"], "", "soon"),
        (["revoke", "--sub", "5", "--keep", "soon"], "", "soon"),
    ],
    ids=range(6),
)
def test_what_can_not_be_revoked_is_explained(arguments: list[str], given: str, said: str, arn: str) -> None:
    result = CliRunner().invoke(app, ["token", *arguments], input=given)
    assert result.exit_code != 0
    assert said in result.output


def test_where_no_list_is_named_nothing_can_be_revoked() -> None:
    result = CliRunner().invoke(app, ["token", "list"])
    assert (result.exit_code, result.output) == (1, "No token can be revoked: AUTH_REVOCATIONS_ARN is not set.\n")


def test_tokens_of_two_secrets_count_while_one_replaces_the_other() -> None:
    authenticator = Authenticator(AuthSettings(secret=SECRET[::-1], previous_secret=SECRET))
    assert authenticator.grant(token()).sub == "5"
    new = sign(SECRET[::-1], "6", [], [], timedelta(hours=1))
    assert authenticator.grant({"Authorization": f"Bearer {new}"}).sub == "6"
    expired = token(exp=int(time.time()) - 10)
    with pytest.raises(Unauthenticated, match="expired"):
        authenticator.grant(expired)
    other = sign("another secret of thirty-two characters", "6", [], [], timedelta(hours=1))
    with pytest.raises(Unauthenticated, match="not valid"):
        authenticator.grant({"Authorization": f"Bearer {other}"})


@pytest.mark.parametrize(
    ("issued", "expires", "counts"),
    [
        (0, 3600, True),
        (0, 3601, False),
        (None, 60, False),
        (-7200, 60, False),
        (-1800, 1800, True),
        (0, 1e300, False),
        (-1e300, 60, False),
        (0, 10**300, False),
    ],
)
def test_a_token_that_is_valid_for_too_long_is_refused_where_there_is_a_limit(
    issued: float | None, expires: float, counts: bool
) -> None:
    now = int(time.time())
    headers = token(iat=None if issued is None else now + issued, exp=now + expires)
    Authenticator(AuthSettings(secret=SECRET)).grant(headers)
    limited = Authenticator(AuthSettings(secret=SECRET, max_lifetime=3600))
    if counts:
        limited.grant(headers)
    else:
        with pytest.raises(Unauthenticated, match="3600 seconds"):
            limited.grant(headers)
