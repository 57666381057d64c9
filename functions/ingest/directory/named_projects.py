"""Finds the projects that events name by full path alone."""

from collections.abc import Sequence

from functions.ingest.event.event import Event
from functions.ingest.event.location import ProjectReference
from functions.shared.grant import Grant
from functions.shared.postgres import Connection

_PROJECTS = "SELECT full_path, id, namespace_path FROM projects WHERE full_path = ANY(%s)"


def identify_projects(events: Sequence[tuple[Event, Grant]], connection: Connection) -> None:
    """Replaces each event's project reference by one with the id of the project.

    A sender finds only projects whose namespace its grant covers. Otherwise the stored events would tell the sender the
    ids of other tenants' projects. An event whose project is not found is stored without a project.

    Args:
        events: events that name their project by full path alone, each with its sender's grant.
    """
    full_paths = list({event.project.full_path for event, _ in events})
    found = {
        full_path: (ProjectReference(number), namespace_path)
        for full_path, number, namespace_path in connection.execute(_PROJECTS, [full_paths])
    }
    for event, sender in events:
        project, namespace_path = found.get(event.project.full_path, (None, None))
        if project is not None and sender.covers(namespace_path):
            event.project = project
