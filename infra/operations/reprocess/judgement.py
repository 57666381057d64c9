"""Decides what a transformation makes of a stored event."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from functions.ingest.transform import project_id_of, transformed
from functions.shared.catalog.registry import OVERRIDES, EventType, Registry
from functions.shared.rejection import Rejection
from functions.shared.timestamp import parse_timestamp
from infra.operations.canonical_payload import canonical_payload
from infra.operations.reprocess.context import StoredContext, context_of, payload_of
from infra.operations.reprocess.stored_events import StoredEvent


class Outcome(StrEnum):
    """What becomes of an event. Only changed ones are written."""

    changed = "changed"
    unchanged = "unchanged"
    rejected = "would be rejected"
    incomplete = "needs what was not stored"
    loses = "would lose a declared key"
    unstable = "would change again each time"


class Rules(msgspec.Struct, frozen=True):
    """What an operator lets a transformation do.

    Attributes:
        may_lack: context keys that events may lack: a transformation that looks for one in vain counts.
        may_drop: declared payload keys that may disappear.
        once: whether events change whose transformation would change them again.
    """

    may_lack: frozenset[str] = frozenset()
    may_drop: frozenset[str] = frozenset()
    once: bool = False


class Judgement(msgspec.Struct):
    """What a transformation makes of an event.

    Attributes:
        before: payload of the event.
        after: payload that the transformation makes; that of before if the event is left as it is.
        encoded: JSON of `after`, if the event changes.
        project_id: project of the event afterwards.
        code: code of the rejection.
        message: message of the rejection.
        keys: context keys that the event lacks, or declared payload keys that it would lose.
        kept: base attributes for which the transformation returns another value; they stay.
    """

    event: StoredEvent
    outcome: Outcome
    before: dict[str, Any]
    after: dict[str, Any]
    project_id: int | None
    encoded: bytes = b""
    code: str = ""
    message: str = ""
    keys: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()


class Judge(msgspec.Struct, frozen=True):
    """Runs the transformations of the present definitions."""

    registry: Registry
    rules: Rules

    def context(self, event: StoredEvent) -> StoredContext | None:
        """Returns the context of an event; None if its payload is no object."""
        event_type, payload = self.registry.by_id[event.event], payload_of(event.payload)
        return None if payload is None else context_of(event, event_type.name, payload, event_type.sources)

    def judge(
        self, event: StoredEvent, context: StoredContext | None, additional: Mapping[str, Any] | Rejection
    ) -> Judgement:
        """Runs the transformations of an event.

        Args:
            context: the context of the event.
            additional: what the prefetch adds to the context, or why it failed.
        """
        before = payload_of(event.payload) or {}
        judged = Judgement(event, Outcome.rejected, before, before, event.project_id)
        rejection = additional if isinstance(additional, Rejection) else None
        if context is None:
            rejection = Rejection("invalid_payload", "The stored payload is no object.")
        elif not isinstance(additional, Rejection):
            try:
                self._transform(judged, context, additional)
            except Rejection as error:
                rejection = error
        if rejection is not None:
            judged.code, judged.message = rejection.code, rejection.message
        return judged

    def _transform(self, judged: Judgement, context: StoredContext, additional: Mapping[str, Any]) -> None:
        event, event_type = judged.event, self.registry.by_id[judged.event.event]
        context.update(additional)
        encoded, returned = transformed(context, event_type, self.registry)
        after, project_id = msgspec.json.decode(encoded), _project_id(judged, returned)
        judged.kept = frozenset(_overridden(event, returned))
        if project_id == event.project_id and canonical_payload(encoded.decode()) == canonical_payload(event.payload):
            judged.outcome = Outcome.unchanged
            return
        missing = context.missing - {path[0] for (path,) in event_type.sources.values()} - self.rules.may_lack
        lost = (_declared(event_type) & judged.before.keys()) - after.keys() - self.rules.may_drop
        if missing:
            judged.outcome, judged.keys = Outcome.incomplete, frozenset(missing)
        elif lost:
            judged.outcome, judged.keys = Outcome.loses, frozenset(lost)
        else:
            judged.outcome = Outcome.changed
            if not self.rules.once and not self._is_stable(event, encoded, project_id, additional):
                judged.outcome = Outcome.unstable
            judged.after, judged.encoded, judged.project_id = after, encoded, project_id

    def _is_stable(
        self, event: StoredEvent, encoded: bytes, project_id: int | None, additional: Mapping[str, Any]
    ) -> bool:
        """Whether the transformations leave their own result as it is."""
        text = encoded.decode()
        changed = event._replace(payload=text, project_id=project_id)
        event_type = self.registry.by_id[event.event]
        context = context_of(changed, event_type.name, payload_of(text) or {}, event_type.sources)
        context.update(additional)
        try:
            again, _ = transformed(context, event_type, self.registry)
        except Rejection:
            return False
        return bool(canonical_payload(again.decode()) == canonical_payload(text))


def _declared(event_type: EventType) -> set[str]:
    payload_class = event_type.payload_class
    return set(payload_class.fields()) if payload_class else set()


def _project_id(judged: Judgement, returned: Mapping[str, Any]) -> int | None:
    """Returns the project that the event has afterwards.

    The event's own project stays. One that a transformation gave follows the payload.
    """
    own, given = judged.event.project_id, project_id_of(returned)
    if given is None or (own is not None and own != judged.before.get("project_id")):
        return own
    return given


def _overridden(event: StoredEvent, returned: Mapping[str, Any]) -> set[str]:
    """Returns the base attributes for which a transformation returns another value.

    Raises:
        Rejection: the time is none.
    """
    try:
        return {
            name
            for name in OVERRIDES
            if name in returned
            and (parse_timestamp(returned[name]) if name == "timestamp" else returned[name]) != getattr(event, name)
        }
    except ValueError as error:
        raise Rejection("invalid_timestamp", f"The transformation's timestamp: {error}.") from error
