"""Makes all checks, one after another."""

from collections.abc import Iterator

from infra.doctor.finding import Finding
from infra.doctor.network import check_network
from infra.doctor.postgres import check_postgres
from infra.doctor.system import read_system


def examine(environment: dict[str, str]) -> Iterator[Finding]:
    """Yields what each check finds, at once. No check changes anything, or waits longer than some seconds.

    Args:
        environment: the variables with the settings.
    """
    # The package of the migrations, which examines a deployment, has none of them nor what they need.
    from infra.doctor.account import check_account
    from infra.doctor.canary import check_canary
    from infra.doctor.clickhouse import check_clickhouse

    system = read_system(environment)
    yield from system.findings
    yield from check_network(system)
    yield from check_postgres(system)
    yield from check_clickhouse(system)
    yield from check_account(system)
    yield from check_canary(system)
