"""Reads secrets of Secrets Manager, and reads them again because they are rotated while functions stay warm."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from aws_lambda_powertools import Logger

from functions.shared.failure import class_and_code
from functions.shared.setting_error import SettingError
from functions.shared.snapshot import after_restore

FRESH_SECONDS = 300
"""A secret is read again after this time, also without a failed login."""

SECONDS_PER_ATTEMPT = 1
"""A secret is read at most this often, however often logins fail."""

_SECONDS_AFTER_FAILURE = 60
_CONNECT_SECONDS = 2
_READ_SECONDS = 3

logger = Logger(child=True)


class Secret[Value]:
    """A secret, kept between invocations of a function.

    A secret that can't be read again, or has become malformed, keeps its former value: an outage of Secrets Manager
    stops nobody. But an instance that starts from a snapshot reads the secret anew, or fails to start: the value in the
    snapshot may be weeks old.

    Args:
        setting: name of the setting that names the secret, for messages.
        arn: the secret's ARN.
        parse: makes the value from the secret's text; raises `SettingError` if the text is malformed.

    Raises:
        SettingError: the secret can't be read, or is malformed.
    """

    def __init__(self, setting: str, arn: str, parse: Callable[[str], Value]) -> None:
        self._setting, self._arn, self._parse = setting, arn, parse
        self._start()
        after_restore(self._start)

    def _start(self) -> None:
        self._read_at = self._tried_at = monotonic()
        self._text = self._read()
        self._value = self._parse(self._text)

    def current(self) -> Value:
        """Returns the value, read again if it is older than `FRESH_SECONDS`."""
        now = monotonic()
        if now - self._read_at >= FRESH_SECONDS and now - self._tried_at >= _SECONDS_AFTER_FAILURE:
            self._read_again(now)
        return self._value

    def read_again(self, min_age: float = SECONDS_PER_ATTEMPT) -> Value:
        """Reads the secret unless that was tried in the last `min_age` seconds; returns the value."""
        now = monotonic()
        if now - self._tried_at >= min_age:
            self._read_again(now)
        return self._value

    def _read_again(self, now: float) -> None:
        self._tried_at = now
        try:
            text = self._read()
            if text != self._text:
                self._value, self._text = self._parse(text), text
                logger.info("A secret was changed", extra={"setting": self._setting})
        except SettingError as error:
            reason = class_and_code(error.__cause__ or error)
            logger.warning("A secret can't be read again", extra={"setting": self._setting, "reason": reason})
        else:
            self._read_at = now

    def _read(self) -> str:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = secrets_manager().get_secret_value(SecretId=self._arn, VersionStage="AWSCURRENT")
            return str(answer["SecretString"]).strip()
        except (BotoCoreError, ClientError, KeyError) as error:
            raise SettingError(f"the secret that {self._setting} names can't be read: {error}") from error


type UrlSource = str | Secret[str]
"""A store's URL, or the secret that holds it."""


def current_url(source: UrlSource) -> str:
    """Returns the URL to connect to now."""
    return source if isinstance(source, str) else source.current()


def changed_url(source: UrlSource, former: str, min_age: float = SECONDS_PER_ATTEMPT) -> str | None:
    """Reads the secret of a URL again after a failed login; returns the URL if it is another one than `former`."""
    if isinstance(source, str):
        return None
    url = source.read_again(min_age)
    return None if url == former else url


def secrets_manager() -> Any:
    """Returns a client of Secrets Manager that gives up early, because a function's start may take 10 s in all."""
    from functions.shared import aws

    return aws.impatient_client("secretsmanager", _CONNECT_SECONDS, _READ_SECONDS)
