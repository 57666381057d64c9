"""Changes the list of revoked tokens, a secret that the functions read each minute."""

from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from functions.shared.revocations import MAX_LIST_BYTES, Revocation, RevocationList

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_STAGE = "AWSPENDING"
_MAX_ATTEMPTS = 10

type Change = Callable[[tuple[Revocation, ...]], tuple[Revocation, ...]]


class RevocationError(Exception):
    """The list can't be changed as asked; the message says why."""


def read(manager: "SecretsManagerClient", secret_arn: str) -> RevocationList:
    """Returns the list of revoked tokens.

    Raises:
        RevocationError: the secret does not hold a list.
    """
    return _read(manager, secret_arn)[0]


def revoke(manager: "SecretsManagerClient", secret_arn: str, *revocations: Revocation) -> None:
    """Adds entries, replacing those about the same tokens or users; drops expired entries.

    Raises:
        RevocationError: the list is full, or the secret does not hold a list.
    """
    about = {_about(revocation) for revocation in revocations}

    def with_them(revoked: tuple[Revocation, ...]) -> tuple[Revocation, ...]:
        return (*(one for one in revoked if _about(one) not in about), *revocations)

    _change(manager, secret_arn, with_them)


def forget(manager: "SecretsManagerClient", secret_arn: str, *, jti: str = "", sub: str = "") -> int:
    """Removes the entries about this token or user; returns how many.

    Raises:
        RevocationError: the secret does not hold a list.
    """
    forgotten = 0

    def without_it(revoked: tuple[Revocation, ...]) -> tuple[Revocation, ...]:
        nonlocal forgotten
        kept = tuple(one for one in revoked if not ((jti and one.jti == jti) or (sub and one.sub == sub)))
        forgotten = len(revoked) - len(kept)
        return kept

    _change(manager, secret_arn, without_it)
    return forgotten


def _about(revocation: Revocation) -> tuple[str, str, str]:
    return revocation.jti, revocation.sub, revocation.issuer


def _read(manager: "SecretsManagerClient", secret_arn: str) -> tuple[RevocationList, str]:
    """Returns the list, and the version of the secret that holds it."""
    answer = manager.get_secret_value(SecretId=secret_arn, VersionStage="AWSCURRENT")
    try:
        return RevocationList.read(answer["SecretString"]), answer["VersionId"]
    except (KeyError, msgspec.DecodeError) as error:
        raise RevocationError(
            f"The secret that AUTH_REVOCATIONS_ARN names does not hold a list of revoked tokens: {error}"
        ) from error


def _change(manager: "SecretsManagerClient", secret_arn: str, change: Change) -> None:
    """Writes the changed list; if another process has changed it meanwhile, reads and changes it again.

    A new version of the secret is written first and then made current in place of the version that was read. Secrets
    Manager refuses that if another version is current by then.
    """
    for _ in range(_MAX_ATTEMPTS):
        known, version = _read(manager, secret_arn)
        changed = change(tuple(one for one in known.revoked if one.until is None or one.until > time()))
        text = msgspec.json.encode(RevocationList(changed)).decode()
        if len(text.encode()) > MAX_LIST_BYTES:
            raise RevocationError(
                f"The list is full: a secret holds {MAX_LIST_BYTES:,} bytes. Revoke a user's tokens with --sub,"
                " or replace the secret that signs tokens."
            )
        written = manager.put_secret_value(SecretId=secret_arn, SecretString=text, VersionStages=[_STAGE])
        try:
            manager.update_secret_version_stage(
                SecretId=secret_arn,
                VersionStage="AWSCURRENT",
                MoveToVersionId=written["VersionId"],
                RemoveFromVersionId=version,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidParameterException":
                raise
        else:
            return
    raise RevocationError("Other processes keep changing the list; try again.")
