"""Compares definitions with what earlier deployments recorded: event types that changed, payload keys that changed."""

from collections.abc import Iterator, Mapping
from itertools import groupby

from functions.shared.catalog.registry import EventType, Registry
from infra.migrations.change import Change, Rows
from infra.migrations.deployed import Deployed, DeployedEvent, DeployedKey
from infra.migrations.readable import always_readable, having, unreadable


def changes(deployed: Deployed, registry: Registry) -> list[Change]:
    """Each difference between the definitions and what is recorded, with the stored rows that it would hide."""
    comparison = _Comparison(deployed, registry)
    return [*comparison.features(), *comparison.events(), *comparison.types(), *comparison.keys()]


class _Comparison:
    def __init__(self, deployed: Deployed, registry: Registry) -> None:
        self._deployed = deployed
        self._registry = registry
        self._release = deployed.release_of(registry)
        self._declared = {
            (feature.name, key.path): key for feature in registry.features.values() for key in feature.declared_keys
        }
        self._types = {key.path: key.type for key in self._declared.values()}
        self._new_names = {
            former: feature.name for feature in registry.features.values() for former in feature.former_names
        }

    def features(self) -> Iterator[Change]:
        """The features that have a new name, and say so."""
        for former in sorted({event.feature for event in self._deployed.events} & self._new_names.keys()):
            now = self._new_names[former]
            yield Change(
                "~", f"feature {former} becomes {now}", "Stored rows go with it. The former name still answers."
            )

    def events(self) -> Iterator[Change]:
        known = {event.id: event for event in self._deployed.events}
        for event in known.values():
            now = self._registry.by_id.get(event.id)
            if now is None and event.removed_in is None:
                yield self._removed(event)
            elif now is not None and now.name != event.name:
                yield self._renamed(event, now)
        for event_id, now in sorted(self._registry.by_id.items()):
            yield from _added_or_moved(known.get(event_id), now, self._new_names)

    def _removed(self, event: DeployedEvent) -> Change:
        return Change(
            "-",
            f"event {event.name} ({event.id})",
            rows=Rows((event.id,), only_in_clickhouse=event.only_in_clickhouse),
            harm="answers leave out the event",
            problem=f"{event.name} ({event.id}) is stored but no longer defined",
            advice=f"keep it with deprecated_events({event.name}={event.id})",
            accept=event.name,
            newer_release=self._newer(event.release),
        )

    def _renamed(self, event: DeployedEvent, now: EventType) -> Change:
        return Change(
            "~",
            f"event {event.name} ({event.id}) becomes {now.name}",
            rows=Rows((event.id,), only_in_clickhouse=event.only_in_clickhouse),
            harm=f"answers show the event as {now.name}",
            problem=f"events are stored as {event.name} ({event.id}), but {now.feature.file} names this id {now.name}",
            advice="give the new event an id that no event has had",
            accept=event.name,
        )

    def types(self) -> Iterator[Change]:
        for path, recorded in groupby(self._deployed.keys, lambda key: key.path):
            keys = list(recorded)
            before, now = keys[0].type, self._types.get(path)
            if now is not None and now != before:
                yield self._retyped(path, before, now, keys)

    def _retyped(self, path: str, before: str, now: str, keys: list[DeployedKey]) -> Change:
        what = f"payload key {path} changes from {before} to {now}"
        if always_readable(before, now):
            return Change("~", what, "Stored values fit.")
        features = {key.feature for key in keys}
        return Change(
            "~",
            what,
            rows=Rows(
                paths=tuple(unreadable(path, before, now)), only_in_clickhouse=any(map(self._is_dropped, features))
            ),
            harm=f"the field answers null, and a condition of type {now} does not find the value",
            problem=what,
            advice="keep the type, and add a key of another name",
            accept=f"{path}:{now.replace(' ', '-')}",
            newer_release=self._newer(max(key.release for key in keys)),
        )

    def keys(self) -> Iterator[Change]:
        for key in self._deployed.keys:
            for feature in self._successors(key.feature) if key.removed_in is None else ():
                if (feature, key.path) not in self._declared and not self._is_within_retyped(key.path):
                    yield self._undeclared(key, feature)
        known = {(key.feature, key.path): key for key in self._deployed.keys}
        renamed = {(self._new_names.get(feature, feature), path): key for (feature, path), key in known.items()}
        known = renamed | known
        for (feature, path), now in self._declared.items():
            before = known.get((feature, path))
            if before is None or before.removed_in is not None:
                required = ", required: events without it will be rejected" if now.required else ""
                yield Change("+", f"payload key {path} ({now.type}) of {feature}{required}")
            elif before.required != now.required:
                how = "required: events without it will be rejected" if now.required else "optional"
                yield Change("~", f"payload key {path} of {feature} becomes {how}")

    def _undeclared(self, key: DeployedKey, feature: str) -> Change:
        what = f"payload key {key.path} ({key.type}{', required' if key.required else ''}) of {feature}"
        if not key.required:
            note = "Stored values stay in `payload`, without a field."
            return Change("-", what, note, newer_release=self._newer(key.release))
        return Change(
            "-",
            what,
            rows=Rows(
                tuple(self._registry.features[feature].all_ids.values()),
                having(key.path),
                self._is_dropped(key.feature),
            ),
            harm="the value is in `payload`, but no longer has a field",
            problem=f"{feature} no longer declares the payload key {key.path}, which was required",
            advice="make it optional (`| None = None`), and remove it in a later release",
            accept=f"{feature}.{key.path}",
            newer_release=self._newer(key.release),
        )

    def _successors(self, feature: str) -> set[str]:
        """The features that now have the events of a recorded feature."""
        ids = {event.id for event in self._deployed.events if event.feature == feature}
        return {event.feature.name for event in self._registry.by_id.values() if event.id in ids}

    def _is_within_retyped(self, path: str) -> bool:
        """Whether an object around the path has another type now, which is a change of its own."""
        types = {key.path: key.type for key in self._deployed.keys}
        keys = path.split(".")
        around = {".".join(keys[:length]).rstrip("[]") for length in range(1, len(keys))}
        return any(other in self._types and self._types[other] != types[other] for other in around & types.keys())

    def _is_dropped(self, feature: str) -> bool:
        return any(event.only_in_clickhouse for event in self._deployed.events if event.feature == feature)

    def _newer(self, release: int) -> int | None:
        return release if release > self._release else None


def _added_or_moved(before: DeployedEvent | None, now: EventType, new_names: Mapping[str, str]) -> Iterator[Change]:
    what = f"event {now.name} ({now.id})"
    if before is None or before.removed_in is not None:
        yield Change("+", f"{what} of {now.feature.name}")
        return
    if new_names.get(before.feature, before.feature) != now.feature.name:
        note = f"Stored rows move with it: their GraphQL type is {now.feature.type_name}."
        yield Change("~", f"{what} moves from {before.feature} to {now.feature.name}", note)
    if before.deprecated != now.deprecated:
        if now.deprecated:
            yield Change("~", f"{what} is deprecated", "Stored rows stay readable; new events will be rejected.")
        else:
            yield Change("~", f"{what} is accepted again")
