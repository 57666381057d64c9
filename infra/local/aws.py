"""Starts MiniStack as the AWS endpoint, or finds a running LocalStack."""

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from infra.local import ports, tools
from infra.local.process import Processes, StartError, listens, wait_until
from infra.stack_file import ACCOUNT

MINISTACK = "ministack[full]==1.5.33"
GUARDED_MINISTACK = Path(__file__).with_name("guarded_ministack.py")
PREFERRED_PORT = 4566
START_SECONDS = 300  # includes the installation at the first start


def running_endpoint() -> str | None:
    """Returns the endpoint that AWS_ENDPOINT_URL or LOCALSTACK_HOST names, if any.

    Raises:
        StartError: the endpoint does not answer.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    host = os.environ.get("LOCALSTACK_HOST")
    if endpoint is None and host is not None:
        endpoint = f"http://{host}" if ":" in host else f"http://{host}:{PREFERRED_PORT}"
    if endpoint is not None and not answers(endpoint):
        raise StartError(f"Nothing answers at {endpoint}, which AWS_ENDPOINT_URL or LOCALSTACK_HOST names")
    return endpoint


def start(folder: Path, log: Path, processes: Processes) -> str:
    """Starts an empty MiniStack, and returns its endpoint.

    Raises:
        StartError: MiniStack did not start.
    """
    port = ports.free(PREFERRED_PORT)
    try:
        return _start_on(port, folder, log, processes)
    except StartError:
        if ports.is_free(port):
            raise
        return _start_on(ports.free(), folder, log, processes)  # another process took the port meanwhile


def _start_on(port: int, folder: Path, log: Path, processes: Processes) -> str:
    endpoint = f"http://{ports.HOST}:{port}"
    scratch = folder / "aws"
    scratch.mkdir(exist_ok=True)
    # MiniStack runs in an environment of its own, so that functions find only what their packages contain. With -P,
    # Python does not import the modules beside the file.
    environment_of = [tools.uvx(), "--python", tools.base_python(), "--from", MINISTACK]
    command = [*environment_of, "python", "-P", str(GUARDED_MINISTACK)]
    environment = {
        **ACCOUNT,
        "BIND_HOST": ports.HOST,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(scratch),
        "STATE_DIR": str(scratch / "state"),
        "S3_DATA_DIR": str(scratch / "s3"),
        "PYTHONPATH": "",
        "VIRTUAL_ENV": "",
    }
    process = processes.start(command, log, environment)
    wait_until(lambda: listens(process, port) and answers(endpoint), process, "AWS (MiniStack)", log, START_SECONDS)
    return endpoint


def api_url(endpoint: str, api_id: str, stage: str) -> str:
    """Returns the URL at which the endpoint serves a REST API."""
    return f"{endpoint}/restapis/{api_id}/{stage}/_user_request_"


def answers(endpoint: str) -> bool:
    """Whether a LocalStack or MiniStack answers at the endpoint."""
    if urlsplit(endpoint).scheme not in ("http", "https"):
        return False
    try:
        with urlopen(endpoint + "/_localstack/health", timeout=2) as answer:  # noqa: S310 - checked above
            return bool(answer.status == 200)
    except OSError:
        return False
