"""`Registry`: loads all definitions, checks them against each other, and finds them by name or id."""

import importlib
import os
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.feature import Feature, Transformation, function_name
from functions.shared.catalog.metric import metric_problems
from functions.shared.catalog.metrics_argument import argument_problems
from functions.shared.catalog.name_rules import (
    EVENT_FIELDS,
    FEATURE_METRICS_FIELDS,
    KEYS_WITHOUT_FIELD,
    name_problems,
)
from functions.shared.catalog.names import camel_case, event_count_field, is_graphql_name
from functions.shared.catalog.payload import Converter, Payload, converter
from functions.shared.catalog.payload_type import PayloadType, describe
from functions.shared.catalog.reserved_ids import ReservedIds
from functions.shared.catalog.source import Source
from functions.shared.catalog.users_count import UsersCount, users_count_problems

OVERRIDES = ("timestamp", "user_id", "namespace_path")
"""Keys of a transformation's result that replace the event's own attributes and do not join the payload."""


class EventType(msgspec.Struct, frozen=True):
    """A defined event.

    Attributes:
        transformations: functions that compute the payload, in the order of running.
        sources: where in the context a payload key gets its value, before the transformations run.
    """

    id: int
    name: str
    feature: Feature
    deprecated: bool
    transformations: tuple[Transformation, ...]
    sources: Mapping[str, Source]

    @property
    def payload_class(self) -> type[Payload] | None:
        """The class of the event's payload; None if the payload has no class."""
        return None if self.name in self.feature.events_without_payload_class else self.feature.payload


class Registry(msgspec.Struct, frozen=True):
    """All definitions, sorted by module name."""

    features: Mapping[str, Feature]
    events: Mapping[str, EventType]
    by_id: Mapping[int, EventType]
    payload_types: Mapping[str, PayloadType]
    converters: Mapping[str, Converter]
    users_counts: tuple[UsersCount, ...] = ()
    reserved: tuple[ReservedIds, ...] = ()

    @property
    def feature_of(self) -> dict[int, str]:
        """Each event id's feature name."""
        return {event.id: event.feature.name for event in self.by_id.values()}

    @property
    def use_ids(self) -> frozenset[int]:
        """The ids of the events that count as use."""
        return frozenset(event.id for event in self.by_id.values() if event.feature.counts_as_use)

    @property
    def seats(self) -> Feature | None:
        """The feature whose events assign and remove seats; None if no definition declares one."""
        return next((feature for feature in self.features.values() if feature.seat_events), None)


def load(package: str = "definitions") -> Registry:
    """Imports every module of `package` and checks the definitions against each other.

    Raises:
        DefinitionError: a module can't be imported, or definitions contradict each other; the message has a line for
            each problem and names the files.
    """
    module = importlib.import_module(package)
    modules = list(_modules(module))
    features: list[Feature] = _declared(modules, "__features__")
    users_counts: list[UsersCount] = _declared(modules, "__users_counts__")
    reserved: list[ReservedIds] = _declared(modules, "__reserved_ids__")
    problems = [
        *_misplaced(module),
        *_without_events(features),
        *name_problems(features, users_counts, reserved),
        *_unknown_names(features),
        *users_count_problems(users_counts, {feature.name for feature in features}),
    ]
    problems += _seats_declared_again(features)
    payload_types = _payload_types(features, problems)
    if problems:
        raise DefinitionError("\n".join(problems))
    events = [event for feature in features for event in _events(feature)]
    return Registry(
        features={feature.name: feature for feature in features},
        events={event.name: event for event in events},
        by_id={event.id: event for event in events},
        payload_types=payload_types,
        converters={key: converter(key_type) for key, key_type in payload_types.items()},
        users_counts=tuple(users_counts),
        reserved=tuple(reserved),
    )


def _declared(modules: Iterable[ModuleType], variable: str) -> list[Any]:
    """What the modules declared, which the variable of each lists."""
    return [declared for module in modules for declared in vars(module).get(variable, ())]


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__):
        name = f"{package.__name__}.{found.name}"
        try:
            module = importlib.import_module(name)
        except DefinitionError:
            raise
        except SystemExit as error:
            file = f"{name.replace('.', '/')}.py"
            raise DefinitionError(f"{file} ends the program instead of defining events (sys.exit)") from error
        except Exception as error:
            raise DefinitionError(f"{name.replace('.', '/')}.py: {type(error).__name__}: {error}") from error
        yield module


def _misplaced(package: ModuleType) -> Iterator[str]:
    """A line for each module of the package's folder that would not be found."""
    for feature in vars(package).get("__features__", ()):
        yield f"{feature.file}: the feature {feature.name} is not found here; give the feature a file of its own"
    for folder in map(Path, package.__path__):
        for file in sorted(_python_files(folder)):
            shown = f"{package.__name__.replace('.', '/')}/{file.relative_to(folder)}"
            if file.parent != folder:
                yield f"{shown} lies in a subfolder, where no definition is found; move the file up"
            elif "." in file.stem:
                yield f"{shown} is not found as a definition, because its name holds a dot; rename the file"


def _python_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if name.endswith(".py") and not name.startswith("."))


def _without_events(features: Iterable[Feature]) -> Iterator[str]:
    for feature in features:
        if not feature.all_ids:
            yield f"{feature.file}: the feature {feature.name} has no events"


def _seats_declared_again(features: Iterable[Feature]) -> Iterator[str]:
    """A line if several features declare seats."""
    files = sorted({feature.file for feature in features if feature.seat_events})
    if len(files) > 1:
        yield f"seats are declared in {' and '.join(files)}; one feature alone has the events of seats"


def _events(feature: Feature) -> Iterator[EventType]:
    for ids, deprecated in ((feature.event_ids, False), (feature.deprecated_ids, True)):
        for name, event_id in ids.items():
            transformations = feature.transformations_of(name)
            has_class = name not in feature.events_without_payload_class
            sources = _sources(feature, transformations) if has_class else {}
            yield EventType(event_id, name, feature, deprecated, transformations, sources)


def _sources(feature: Feature, transformations: Sequence[Transformation]) -> dict[str, Source]:
    """Where the keys of a payload come from: all of them, or with transformations those that declare a source."""
    if feature.payload is None:
        return {}
    return feature.payload.declared_sources() if transformations else feature.payload.sources()


def _unknown_names(features: Iterable[Feature]) -> Iterator[str]:
    """A line for each undefined event, payload key or metric that a definition names."""
    for feature in features:
        for names, function in feature.transformations:
            for name in sorted(names - feature.all_ids.keys()):
                yield f"{feature.file}: transformation {function_name(function)} names the unknown event {name!r}"
        for problem in (
            *metric_problems(feature.metrics, feature.all_ids, feature.payload_types),
            *argument_problems(feature.metrics_arguments, feature.payload_types),
            *_unknown_beside(feature),
            *_session_problems(feature),
        ):
            yield f"{feature.file}: {problem}"
        for declared in (feature.seat_events, feature.session_events):
            if declared is not None:
                for problem in declared.problems(feature.all_ids, feature.payload_types):
                    yield f"{feature.file}: {problem}"


def _session_problems(feature: Feature) -> Iterator[str]:
    if feature.session_metrics_declared is not None:
        has_sessions = feature.session_events is not None
        yield from feature.session_metrics_declared.problems(feature.payload_types, has_sessions=has_sessions)


def _unknown_beside(feature: Feature) -> Iterator[str]:
    known = {*FEATURE_METRICS_FIELDS, *feature.metrics, *map(event_count_field, feature.all_ids)}
    for field, metric in feature.metrics_beside_feature.items():
        if metric not in known:
            yield f"the metric {field!r} beside the feature names the unknown metric {metric!r}"


def _payload_types(features: Iterable[Feature], problems: list[str]) -> dict[str, PayloadType]:
    """The type of every payload key; adds a line to `problems` for each reserved or contradictory key."""
    merged: dict[str, PayloadType] = {}
    first: dict[str, tuple[str, Feature]] = {}
    for feature in features:
        problems += _key_problems(feature, feature.payload_types)
        problems += _reserved_keys(feature)
        for path, described in _paths(feature.payload_types):
            known, other = first.setdefault(path, (described, feature))
            if known != described:
                problems.append(
                    f"payload key {path!r} is {known} in {other.file} and {described} in {feature.file}; "
                    "give the key one type in all definitions"
                )
        _merge(merged, feature.payload_types)
    return merged


def _reserved_keys(feature: Feature) -> Iterator[str]:
    for key in feature.payload_types:
        if key in OVERRIDES or (camel_case(key) in EVENT_FIELDS and key not in KEYS_WITHOUT_FIELD):
            yield f"{feature.file}: payload key {key!r} is reserved"


def _key_problems(feature: Feature, types: Mapping[str, PayloadType]) -> Iterator[str]:
    fields: dict[str, str] = {}
    for key, key_type in types.items():
        field = camel_case(key)
        if not is_graphql_name(field):
            yield f"{feature.file}: payload key {key!r} is not a name that GraphQL allows"
        if field in fields:
            yield f"{feature.file}: payload keys {fields[field]!r} and {key!r} are both {field!r} in camelCase"
        fields[field] = key
        while isinstance(key_type, list):
            key_type = key_type[0]
        if isinstance(key_type, dict):
            yield from _key_problems(feature, key_type)
            if not key_type:
                yield f"{feature.file}: payload key {key!r} is an object whose class declares no key"


def _paths(types: Mapping[str, PayloadType], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every path into the payload, with its type in words."""
    for key, key_type in types.items():
        path = f"{prefix}{key}"
        yield path, describe(key_type)
        while isinstance(key_type, list):
            path, key_type = f"{path}[]", key_type[0]
        if isinstance(key_type, dict):
            yield from _paths(key_type, f"{path}.")


def _merge(merged: dict[str, PayloadType], types: Mapping[str, PayloadType]) -> None:
    for key, key_type in types.items():
        merged[key] = _merged(merged.get(key), key_type)


def _merged(known: PayloadType | None, key_type: PayloadType) -> PayloadType:
    if isinstance(key_type, list):
        return [_merged(known[0] if isinstance(known, list) else None, key_type[0])]
    if isinstance(key_type, dict):
        both = dict(known) if isinstance(known, dict) else {}
        _merge(both, key_type)
        return both
    return key_type
