"""What earlier deployments recorded of their definitions: releases, event types, and keys of payloads."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from functions.shared.catalog.registry import Registry
from functions.shared.postgres import Connection

_IS_RECORDED = "SELECT to_regclass('payload_keys') IS NOT NULL"

_RELEASES = "SELECT digest, number FROM releases"

_EVENT_TYPES = """
    SELECT id, name, feature, deprecated, release, removed_in, only_in_clickhouse FROM event_types ORDER BY id
"""

_PAYLOAD_KEYS = "SELECT feature, path, type, required, release, removed_in FROM payload_keys ORDER BY path, feature"


class DeployedEvent(NamedTuple):
    """A recorded event type.

    Attributes:
        release: first release that defined the event type.
        removed_in: release that removed the event type although rows were stored; None if none did.
        only_in_clickhouse: whether partitions with rows of the event type were dropped that ClickHouse may still have.
    """

    id: int
    name: str
    feature: str
    deprecated: bool
    release: int
    removed_in: int | None
    only_in_clickhouse: bool


class DeployedKey(NamedTuple):
    """A recorded payload key of a feature.

    Attributes:
        path: as in `DeclaredKey`, like `type` and `required`.
        release: release that declared the key as it is recorded.
        removed_in: release that no longer declared the key; None if none did.
    """

    feature: str
    path: str
    type: str
    required: bool
    release: int
    removed_in: int | None


@dataclass(frozen=True, slots=True)
class Deployed:
    """What is recorded.

    Attributes:
        releases: number of each release, by the digest of its definitions.
    """

    releases: Mapping[str, int]
    events: tuple[DeployedEvent, ...] = ()
    keys: tuple[DeployedKey, ...] = ()

    def release_of(self, registry: Registry) -> int:
        """Number of the release with these definitions: that of an earlier deployment, or else the next number."""
        return self.releases.get(digest(registry), max(self.releases.values(), default=0) + 1)


def read_deployed(connection: Connection) -> Deployed:
    """Reads what is recorded; nothing if no deployment has recorded its definitions yet."""
    if connection.execute(_IS_RECORDED).fetchone() != (True,):
        return Deployed({})
    return Deployed(
        releases=dict(connection.execute(_RELEASES).fetchall()),
        events=tuple(map(DeployedEvent._make, connection.execute(_EVENT_TYPES))),
        keys=tuple(map(DeployedKey._make, connection.execute(_PAYLOAD_KEYS))),
    )


def digest(registry: Registry) -> str:
    """Digest of all that a deployment records of its definitions. Code does not count, and neither does its order."""
    events = sorted((event.id, event.name, event.feature.name, event.deprecated) for event in registry.events.values())
    keys = sorted((feature.name, *key) for feature in registry.features.values() for key in feature.declared_keys)
    return hashlib.sha256(msgspec.json.encode([events, keys])).hexdigest()
