"""Whose turn a message takes in the queue.

SQS delivers the messages of a tenant that keeps the consumer busy after those of other tenants, if messages name their
tenant as `MessageGroupId`:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from functions.shared.grant import Grant, is_traversal_path
from functions.shared.tenant import EVERYONE, MAX_GROUP_CHARACTERS, tenant_group
from functions.shared.traversal_path import root_of

MANY_MESSAGES = 30
"""A tenant with so many messages in a batch is stored after the others, in a transaction of its own."""

_SAMPLE = 8


class _Namespace(msgspec.Struct, gc=False):
    path: str | None = None


class _Project(msgspec.Struct, gc=False):
    namespace: _Namespace | None = None


class _Event(msgspec.Struct, gc=False):
    """What an event may say of its namespace's path."""

    namespace: _Namespace | None = None
    namespace_path: str | None = None
    project: _Project | None = None


_decoder = msgspec.json.Decoder(_Event)


def group_of_message(events: Sequence[bytes | msgspec.Raw], grant: Grant | None) -> str | None:
    """Returns the group of a message with these events; None if the message belongs to no tenant.

    Senders without limits send the events of all tenants. Their messages belong to the root namespace that their events
    name.

    Args:
        grant: the sender's grant; None if the events are sent directly to the queue.
    """
    group = EVERYONE if grant is None else tenant_group(grant)
    return common_root(events) if group == EVERYONE else group


def common_root(events: Sequence[bytes | msgspec.Raw]) -> str | None:
    """Returns the root namespace that the events name; None if they name several, or none.

    A sample of the events decides, because the group only changes when a message is delivered.
    """
    step = max(1, -(-len(events) // _SAMPLE))
    roots = {_root(event) for event in events[::step]}
    return roots.pop() if len(roots) == 1 else None


def by_turn(events: Sequence[bytes]) -> list[tuple[str | None, Sequence[bytes]]]:
    """Returns the messages in which a program sends events, each message with its group.

    The events of a tenant that more than half of the events are of go into a message of their own, so that the others
    do not wait with them.
    """
    roots = [_root(event) for event in events]
    ((most, number),) = Counter(roots).most_common(1)
    if most is None or number * 2 <= len(events):
        return [(None, events)]
    own = [event for event, root in zip(events, roots, strict=True) if root == most]
    others = [event for event, root in zip(events, roots, strict=True) if root != most]
    return [(most, own), (common_root(others), others)] if others else [(most, own)]


def in_turn(records: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Orders a batch so that the messages of a tenant with few come before those of a tenant with many.

    Args:
        records: messages as Lambda passes them to the function.

    Returns:
        The messages, and how many of them come before those of tenants with `MANY_MESSAGES` or more.
    """
    groups = [_group(record) for record in records]
    sizes = Counter(group for group in groups if group is not None)
    sized = [(1 if group is None else sizes[group], place) for place, group in enumerate(groups)]
    few = sum(size < MANY_MESSAGES for size, _ in sized)
    return [records[place] for _, place in sorted(sized)], few


def _group(record: Mapping[str, Any]) -> str | None:
    attributes = record.get("attributes")
    group = attributes.get("MessageGroupId") if isinstance(attributes, Mapping) else None
    return group if isinstance(group, str) else None


def _root(event: bytes | msgspec.Raw) -> str | None:
    try:
        named = _decoder.decode(event)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    of_project = named.project.namespace if named.project else None
    paths = (named.namespace_path, *(one.path for one in (named.namespace, of_project) if one))
    path = next(filter(None, paths), None)
    if path is None or not is_traversal_path(path):
        return None
    root = root_of(path)
    return root if len(root) <= MAX_GROUP_CHARACTERS else None
