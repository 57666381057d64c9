"""Counts what transformations make of stored events, with examples."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from infra.operations.reprocess.judgement import Judgement, Outcome

EXAMPLES = 2
"""Examples that are kept of each kind."""


class Example(msgspec.Struct, frozen=True):
    """A value of a payload key before and after; `msgspec.UNSET` where the payload lacks the key."""

    event_id: str
    before: Any
    after: Any


class KeyChanges(msgspec.Struct):
    """What becomes of one payload key: how often it is added, removed and changed."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    examples: list[Example] = msgspec.field(default_factory=list)


class Findings:
    """What became of the events judged so far.

    Attributes:
        outcomes: number of events.
        keys: changes of each payload key, of changed events and of those that would change again each time.
        rejections: number of events for each code of a rejection.
        messages: a message for each code.
        missing: number of events for each context key that was not stored.
        lost: number of events for each declared payload key that would be lost.
        kept: number of events for each base attribute that a transformation wants to be different.
        gone: number of events that were deleted meanwhile.
    """

    def __init__(self) -> None:
        self.outcomes = Counter[Outcome]()
        self.keys = defaultdict[str, KeyChanges](KeyChanges)
        self.rejections, self.messages = Counter[str](), dict[str, str]()
        self.missing, self.lost, self.kept = Counter[str](), Counter[str](), Counter[str]()
        self.gone = 0

    def add(self, judgements: Iterable[Judgement]) -> None:
        """Counts some events."""
        for judged in judgements:
            self.outcomes[judged.outcome] += 1
            self.kept.update(judged.kept)
            if judged.outcome is Outcome.rejected:
                self.rejections[judged.code] += 1
                self.messages.setdefault(judged.code, judged.message)
            elif judged.outcome is Outcome.incomplete:
                self.missing.update(judged.keys)
            elif judged.outcome is Outcome.loses:
                self.lost.update(judged.keys)
            elif judged.outcome is not Outcome.unchanged:
                self._compare(judged)

    def _compare(self, judged: Judgement) -> None:
        before, after = judged.before, judged.after
        for key in before.keys() | after.keys():
            old, new = before.get(key, msgspec.UNSET), after.get(key, msgspec.UNSET)
            if type(old) is type(new) and old == new:
                continue
            changes = self.keys[key]
            if old is msgspec.UNSET:
                changes.added += 1
            elif new is msgspec.UNSET:
                changes.removed += 1
            else:
                changes.changed += 1
            if len(changes.examples) < EXAMPLES:
                changes.examples.append(Example(str(judged.event.id), old, new))

    @property
    def read(self) -> int:
        """Returns the number of events judged."""
        return self.outcomes.total()

    def counts(self) -> dict[str, int]:
        """Returns the numbers for the record, by the outcome's name."""
        return self.counts_with((), 0)

    def counts_with(self, judgements: Iterable[Judgement], gone: int) -> dict[str, int]:
        """Returns the numbers as they will be with these events, of which some are gone."""
        outcomes = self.outcomes + Counter(judged.outcome for judged in judgements)
        return {outcome.name: outcomes[outcome] for outcome in Outcome} | {"gone": self.gone + gone}
