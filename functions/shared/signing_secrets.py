"""The secrets that sign tokens: at most two at a time, so that one can be replaced without refusing a token."""

from time import monotonic

import msgspec

from functions.shared.allowance import Allowance
from functions.shared.secret import Secret
from functions.shared.setting_error import SettingError

MIN_SECRET_BYTES = 32  # the hash size of HS256; RFC 7518 forbids shorter keys
MAX_SECRETS = 2

# Anybody can send tokens with wrong signatures, each of which might be signed with a new secret.
_MAX_READS_AT_ONCE = 2
_SECONDS_PER_READ = 10

type SecretSource = str | tuple[str, ...] | Secret[tuple[str, ...]] | None
"""One secret, several of them, or the secret in Secrets Manager that holds them."""


def parse_secrets(text: str, name: str) -> tuple[str, ...]:
    """Returns the secrets in a text: a JSON list of at most two, the newest first, or a single one.

    Args:
        name: the setting, for messages.

    Raises:
        SettingError: the list is malformed, or a secret is too short.
    """
    source = f"{name} (or the secret that {name}_ARN names)"
    secrets: tuple[str, ...] = (text,)
    if text.startswith("["):
        try:
            secrets = tuple(secret.strip() for secret in msgspec.json.decode(text, type=list[str]))
        except msgspec.DecodeError as error:
            raise SettingError(f"{source} begins with [ but is no JSON list of texts") from error
        if not 1 <= len(secrets) <= MAX_SECRETS:
            raise SettingError(f"{source} must list one or two secrets")
    if any(len(secret.encode()) < MIN_SECRET_BYTES for secret in secrets):
        raise SettingError(f"{source} needs at least {MIN_SECRET_BYTES} bytes to resist guessing")
    return secrets


class SigningSecrets:
    """The current and the previous secret, read again while the function stays warm."""

    def __init__(self, *sources: SecretSource) -> None:
        self._sources = [source for source in sources if source is not None]
        self._reads = Allowance(_MAX_READS_AT_ONCE, _SECONDS_PER_READ)

    def current(self) -> tuple[str, ...]:
        """Returns the secrets that may have signed a token, the newest first. The same secret is the same object."""
        return tuple(secret for source in self._sources for secret in _secrets(source))

    def read_again(self) -> tuple[str, ...]:
        """Returns the secrets that were added meanwhile, after a token that none of the known ones signed."""
        known = self.current()
        kept = [source for source in self._sources if isinstance(source, Secret)]
        if not kept or not self._reads.take(monotonic()):
            return ()
        for source in kept:
            source.read_again()
        return tuple(secret for secret in self.current() if secret not in known)


def _secrets(source: str | tuple[str, ...] | Secret[tuple[str, ...]]) -> tuple[str, ...]:
    match source:
        case str():
            return (source,)
        case tuple():
            return source
        case _:
            return source.current()
