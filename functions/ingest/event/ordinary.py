"""Accepts events of the usual form many at a time, without reading each by itself.

Each check is stricter than the rule in `event.py` that it stands for, or is that rule, run once for equal values.
Events that fail a check are read one by one, so that every rule and every message has one place.

Events of the commonest form have a class of their own, whose types leave out what other forms have to be asked for.
"""

from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from operator import attrgetter
from types import NoneType
from typing import Annotated, Any
from uuid import UUID

import msgspec

from functions.ingest.contract import MAX_ID, Namespace, User
from functions.ingest.event.attributes import CERTAINLY_SHORT, AdditionalProperties, BaseAttributes, decoded_at_once
from functions.ingest.event.event import NO_IDS, AcceptanceRules, sent_time
from functions.ingest.event.location import location_of
from functions.shared.grant import Grant
from functions.shared.identifier import time_of
from functions.shared.rejection import Rejection

# `map` calls these in C, which takes a tenth of the time that reading each event in Python takes.
_NAME, _ID, _NUMBER = attrgetter("event"), attrgetter("id"), attrgetter("int")
_TIMESTAMP, _USER, _USER_ID = attrgetter("timestamp"), attrgetter("user"), attrgetter("user_id")
_NAMESPACE = attrgetter("namespace")
_OTHER_PLACE = attrgetter("namespace_path", "namespace_id", "project", "project_path")
_PLACE = attrgetter("namespace", "namespace_path", "namespace_id", "project", "project_id", "project_path")

_ROUNDING = timedelta(seconds=1)  # the decoder may round a time up to the next second

type _NumericId = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
type _Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _User(User, frozen=True, gc=False):
    id: _NumericId
    username: Annotated[str, msgspec.Meta(max_length=CERTAINLY_SHORT)] | None = None


class _AdditionalProperties(AdditionalProperties, gc=False):
    timestamp: _Moment | None = None


class OrdinaryAttributes(BaseAttributes, gc=False):
    """The base attributes of an event of the usual form, in types that leave little to check."""

    timestamp: _Moment | None = None
    user: _User | None = None
    user_id: _NumericId | None = None
    project_id: _NumericId | None = None
    additional_properties: _AdditionalProperties | None = None


class CommonAttributes(msgspec.Struct, gc=False):
    """The base attributes of an event of the commonest form, in which nothing has to be looked at twice."""

    event: str
    id: UUID
    timestamp: _Moment
    user: _User
    namespace: Namespace | None = None
    project_id: _NumericId | None = None
    additional_properties: _AdditionalProperties | None = None
    # An event that has one of these is of another form.
    user_id: None = None
    namespace_path: None = None
    namespace_id: None = None
    project: None = None
    project_path: None = None


_list_decoder = msgspec.json.Decoder(list[OrdinaryAttributes])
_common_list_decoder = msgspec.json.Decoder(list[CommonAttributes])

type _Attributes = Sequence[OrdinaryAttributes] | Sequence[CommonAttributes]


def ordinary_ids(array: bytes, count: int, first: int, rules: AcceptanceRules) -> list[UUID] | None:
    """Returns the stored ids of events that are all acceptable; None if the events must be read one by one.

    Args:
        array: a JSON array of events that are not too large, and hold no value that can't be stored.
        count: number of the events.
        first: index in the batch of the first of these events.
    """
    common = decoded_at_once(_common_list_decoder, array, count)
    if common:
        return _ids(common, list(map(_TIMESTAMP, common)), _namespaces(common), first, rules)
    ordinary = decoded_at_once(_list_decoder, array, count)
    if not ordinary or not _name_users(ordinary):
        return None
    return _ids(ordinary, _times(ordinary, rules), _places(ordinary), first, rules)


def _ids(
    attributes: _Attributes, times: Sequence[datetime], places: Set[Any], first: int, rules: AcceptanceRules
) -> list[UUID] | None:
    """Does what `ordinary_ids` does, given the times of the events and the arguments of `location_of`."""
    own_ids = list(map(_ID, attributes))
    if not (
        _are_accepted(attributes, rules)
        and _are_ids(own_ids)
        and rules.times.earliest + _ROUNDING <= min(times)
        and max(times) <= rules.times.latest
        and _may_be_written(attributes, places, rules)
    ):
        return None
    if rules.id_space is None and NoneType not in set(map(type, own_ids)):
        return own_ids
    return [rules.batch.stored_id(own_id, index, rules.id_space) for index, own_id in enumerate(own_ids, first)]


def _are_accepted(attributes: _Attributes, rules: AcceptanceRules) -> bool:
    types = map(rules.event_types.get, set(map(_NAME, attributes)))
    return all(event_type is not None and not event_type.deprecated for event_type in types)


def _are_ids(own_ids: Sequence[UUID | None]) -> bool:
    return NO_IDS.isdisjoint(map(_NUMBER, filter(None, own_ids)))


def _times(attributes: Sequence[OrdinaryAttributes], rules: AcceptanceRules) -> list[datetime]:
    times: list[datetime] = list(map(_TIMESTAMP, attributes))
    return [_time(one, rules) for one in attributes] if NoneType in set(map(type, times)) else times


def _time(attributes: OrdinaryAttributes, rules: AcceptanceRules) -> datetime:
    return sent_time(attributes) or (attributes.id and time_of(attributes.id)) or rules.batch.received_at


def _name_users(attributes: Sequence[OrdinaryAttributes]) -> bool:
    """Whether all events name their users, and all in the same way."""
    kinds, id_kinds = set(map(type, map(_USER, attributes))), set(map(type, map(_USER_ID, attributes)))
    return (kinds, id_kinds) in (({_User}, {NoneType}), ({NoneType}, {int}))


def _may_be_written(attributes: _Attributes, places: Set[Any], rules: AcceptanceRules) -> bool:
    """Whether the namespaces and projects are valid, and the sender may write there and for the users."""
    try:
        locations = [location_of(*place) for place in places]
        if rules.grant_restricts:
            user_ids = {one.user.id if one.user else one.user_id for one in attributes}
            _require_writable(user_ids, {location.explicit_path for location in locations}, rules.sender)
    except Rejection:
        return False
    return True


def _require_writable(user_ids: Set[Any], paths: Set[str | None], sender: Grant) -> None:
    """Checks users and namespaces apart, because the rules for them do not depend on each other.

    Raises:
        Rejection: the sender may not write for one of the users, or in one of the namespaces.
    """
    for user_id in user_ids:
        sender.require_writable(user_id, None)
    for path in paths:
        sender.require_writable(next(iter(user_ids)), path)


def _places(attributes: Sequence[OrdinaryAttributes]) -> set[Any]:
    """Returns the different arguments of `location_of`; a project's id is valid and alone contradicts nothing."""
    if set(map(_OTHER_PLACE, attributes)) == {(None, None, None, None)}:
        return _namespaces(attributes)
    return set(map(_PLACE, attributes))


def _namespaces(attributes: _Attributes) -> set[Any]:
    """Returns the different arguments of `location_of` for events that name no other place than a namespace."""
    return {(namespace, None, None, None, None, None) for namespace in set(map(_NAMESPACE, attributes))}
