"""`DeclaredSessions`: which events of a feature make up sessions, and the figures of them."""

from collections.abc import Sequence

from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.names import is_field_name
from functions.shared.catalog.session import SessionEvents
from functions.shared.catalog.session_metrics import SessionMetrics


class DeclaredSessions:
    """What a `Feature` declares of its sessions.

    Attributes:
        file: file of the definition, for messages.
        session_events: the events that make up sessions; None without a key.
        session_metrics_declared: fields with figures of sessions; None without any.
    """

    file: str
    session_metrics_declared: SessionMetrics | None

    def __init__(self, session_key: str | None) -> None:
        self.session_events = None if session_key is None else SessionEvents(session_key)

    def sessions(
        self,
        *,
        key: str | None = None,
        begins: Sequence[str] = (),
        ends: Sequence[str] = (),
        completes: Sequence[str] | None = None,
    ) -> None:
        """Declares which events begin and end a session: events with one value at the key, in one namespace.

        Args:
            key: payload key, or keys joined by dots; by default the feature's `session_key`.
            begins: names of the events that begin a session; by default any event does.
            ends: names of the events that end a session; by default the last one, whichever it is.
            completes: names of the events among `ends` that end a session with success; by default all of them. A
                session that ends without one is abandoned.

        Raises:
            DefinitionError: the feature has no key or two, sessions are declared twice, or a list is a text.
        """
        known = self.session_events
        if known is None and key is None:
            raise DefinitionError(f"{self.file}: sessions need a key: the payload key that tells them apart")
        if known is not None and key not in (None, known.key):
            raise DefinitionError(f"{self.file}: sessions have the keys {known.key!r} and {key!r}; give them one")
        if known is not None and known.are_declared:
            raise DefinitionError(f"{self.file}: sessions are declared twice")
        for name, given in (("begins", begins), ("ends", ends), ("completes", completes)):
            if isinstance(given, str):
                raise DefinitionError(f"{self.file}: sessions: {name} must be a list of names")
        completing = tuple(ends if completes is None else completes)
        written = key if known is None else known.key
        self.session_events = SessionEvents(str(written), tuple(begins), tuple(ends), completing, are_declared=True)

    def session_metrics(self, field: str, *, by: str, users_field: str | None = None) -> None:
        """Declares a field of the feature's metrics with figures of its sessions: how many, whose, completed, how long.

        Args:
            field: name of the field, which answers the figures of each group of sessions.
            by: payload key of the texts that sessions are grouped by, or keys joined by dots.
            users_field: name of a further field, which counts the sessions of each user and group.

        Raises:
            DefinitionError: a name is not a GraphQL field name, or session metrics are declared twice.
        """
        declared = SessionMetrics(by, field, users_field)
        if self.session_metrics_declared is not None:
            raise DefinitionError(f"{self.file}: session metrics are declared twice")
        for name in declared.fields:
            if not is_field_name(name):
                message = f"session metrics {name!r} is not a name that GraphQL allows, beginning in lower case"
                raise DefinitionError(f"{self.file}: {message}")
        self.session_metrics_declared = declared
