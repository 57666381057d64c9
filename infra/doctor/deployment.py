"""Examines what a deployment needs, before it changes anything.

The function of the migrations runs this where the other functions will run: in the same network, with the same secrets.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from infra.doctor.finding import Finding, Outcome
from infra.doctor.network import postgres_addresses, reached
from infra.doctor.postgres import check_before_migrations
from infra.doctor.system import OF_DATABASE, read_system
from infra.migrations.not_ready import NotReady


def require_ready(progress: Callable[[str], None]) -> None:
    """Checks secrets, network, TLS, version and privileges.

    Args:
        progress: called with each warning.

    Raises:
        NotReady: a check failed; the message has a sentence for each that did.
    """
    failures = list[str]()
    for finding in examine_deployment(dict(os.environ)):
        sentence = f"{finding.check}: {finding.found}. {finding.remedy}"
        if finding.outcome is Outcome.FAILED:
            failures.append(sentence)
        elif finding.outcome is Outcome.WARNING:
            progress(sentence)
    if failures:
        raise NotReady(" ".join(failures))


def examine_deployment(environment: dict[str, str]) -> Iterator[Finding]:
    """Yields what each check finds.

    Args:
        environment: the variables with the settings.
    """
    system = read_system(environment)
    yield from (finding for finding in system.findings if finding.check in OF_DATABASE)
    if system.owner is None:
        return
    found = [reached(address) for address in postgres_addresses("PostgreSQL", system.owner)]
    is_any_reached = any(finding.outcome is Outcome.OK for finding in found)
    for finding in found:
        is_spare = is_any_reached and finding.outcome is Outcome.FAILED
        yield replace(finding, outcome=Outcome.WARNING) if is_spare else finding
    if not found or is_any_reached:
        has_roles = (system.writer, system.reader) != (None, None)
        yield from check_before_migrations(system.owner, has_roles=has_roles)
