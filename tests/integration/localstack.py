"""Starts LocalStack: the last release that needs neither an account nor a container."""

from pathlib import Path

from infra.local import aws, ports, tools
from infra.local.process import Processes, wait_until
from infra.stack_file import ACCOUNT

LOCALSTACK = "localstack-core[runtime]==2026.3.0"
RELEASED = "2026-03-28"  # what it depends on is taken as it was that day
START_SECONDS = 300  # the first time it is installed
PROGRAM = Path(__file__).with_name("contained_localstack.py")


def start(folder: Path, log: Path, processes: Processes) -> str:
    """Starts an empty LocalStack that writes only in `folder`, and returns its endpoint.

    Raises:
        StartError: LocalStack did not start.
    """
    address = f"{ports.HOST}:{ports.free()}"
    (folder / "usr" / "lib" / "localstack").mkdir(parents=True)
    command = [tools.uvx(), "--python", tools.base_python(), "--exclude-newer", RELEASED, "--from", LOCALSTACK]
    environment = {
        **ACCOUNT,
        "GATEWAY_LISTEN": address,
        "LOCALSTACK_HOST": address,
        "FILESYSTEM_ROOT": str(folder),
        "OVERRIDE_IN_DOCKER": "0",  # in a container too it is to write to that folder
        "DNS_ADDRESS": "0",  # no server for names, and /etc/resolv.conf stays as it is
        "DISABLE_EVENTS": "1",  # nothing is reported to its makers
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "SQS_ENDPOINT_STRATEGY": "path",  # the others name hosts that a name server must know
        "PYTHONDONTWRITEBYTECODE": "",  # compiled once, it starts in half the time
        "PYTHONPATH": "",
        "VIRTUAL_ENV": "",
    }
    # -P: beside the program are modules that are not what LocalStack means by their names.
    process = processes.start([*command, "python", "-P", PROGRAM], log, environment)
    endpoint = f"http://{address}"
    wait_until(lambda: aws.answers(endpoint), process, "LocalStack", log, START_SECONDS)
    return endpoint
