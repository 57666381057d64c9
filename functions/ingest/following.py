"""Events follow a namespace or project that moved after they happened."""

from collections.abc import Iterable
from functools import partial
from operator import attrgetter

from functions.ingest.directory.directory import BatchDirectory
from functions.ingest.directory.users import BatchUsers
from functions.ingest.transform import Candidate
from functions.shared.postgres import Database
from functions.shared.rejection import Rejection, quoted

_PLACE = attrgetter("event.explicit_path", "event.project.id")


def may_have_moved(candidates: Iterable[Candidate], directory: BatchDirectory, database: Database) -> bool:
    """Loads what decides where the candidates are that name a path; returns whether any may be elsewhere."""
    places = {(path, project) for path, project in set(map(_PLACE, candidates)) if path is not None}
    return bool(places) and database.run(partial(directory.load_places, places))


def follow_move(candidate: Candidate, directory: BatchDirectory) -> None:
    """Places an event at the path to which a later move takes it.

    Raises:
        Rejection: the sender may not write there (`forbidden_namespace`).
    """
    event, sender = candidate.event, candidate.sender
    path, named_path = directory.moved_path(event), event.explicit_path
    if path is None or path == named_path:
        return
    if not sender.covers(path):
        message = f"The namespace {quoted(named_path)} moved to where the token does not cover it."
        raise Rejection("forbidden_namespace", message)
    candidate.moved_from = named_path
    if named_path is not None and event.username and sender.is_authoritative:
        directory.late_paths.add(named_path)  # the name is written there, and follows the namespace from there
    event.explicit_path = candidate.namespace_path = path


def state_rejected(candidates: Iterable[Candidate], directory: BatchDirectory, users: BatchUsers) -> None:
    """Records what authoritative senders state in events that they may not write where the namespace is now.

    Whether such an event is rejected depends on when it arrives; what is known must not.
    """
    for candidate in candidates:
        event, sender = candidate.event, candidate.sender
        if sender.is_authoritative:
            directory.add_event(event, sender, candidate.batch.received_at)
            users.add_event(event.user_id, event.username, event.timestamp, event.explicit_path, sender)
