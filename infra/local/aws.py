"""The AWS endpoint: MiniStack, or a LocalStack that runs already."""

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from infra.local import ports, tools
from infra.local.process import Processes, StartError, listens, wait_until

MINISTACK = "ministack[full]==1.5.33"
GUARDED_MINISTACK = Path(__file__).with_name("guarded_ministack.py")
PREFERRED_PORT = 4566
START_SECONDS = 300  # the first time it is installed
REGION = "us-east-1"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}


def running_endpoint() -> str | None:
    """The endpoint that AWS_ENDPOINT_URL or LOCALSTACK_HOST names.

    Raises:
        StartError: nothing answers there.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    host = os.environ.get("LOCALSTACK_HOST")
    if endpoint is None and host is not None:
        endpoint = f"http://{host}" if ":" in host else f"http://{host}:{PREFERRED_PORT}"
    if endpoint is not None and not answers(endpoint):
        raise StartError(f"Nothing answers at {endpoint}, which AWS_ENDPOINT_URL or LOCALSTACK_HOST names")
    return endpoint


def start(folder: Path, log: Path, processes: Processes) -> str:
    """Starts MiniStack with nothing in it, and returns its endpoint.

    Raises:
        StartError: it did not come up.
    """
    port = ports.free(PREFERRED_PORT)
    try:
        return _start_on(port, folder, log, processes)
    except StartError:
        if ports.is_free(port):
            raise
        return _start_on(ports.free(), folder, log, processes)  # another stack took the port in the same moment


def _start_on(port: int, folder: Path, log: Path, processes: Processes) -> str:
    endpoint = f"http://{ports.HOST}:{port}"
    scratch = folder / "aws"
    scratch.mkdir(exist_ok=True)
    # In an environment of its own, so that functions find nothing but what their packages hold. With -P it does not
    # take the modules beside the file for its own.
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
    """Where the endpoint serves a REST API."""
    return f"{endpoint}/restapis/{api_id}/{stage}/_user_request_"


def answers(endpoint: str) -> bool:
    """Tell whether an AWS endpoint of this kind is up there."""
    if urlsplit(endpoint).scheme not in ("http", "https"):
        return False
    try:
        with urlopen(endpoint + "/_localstack/health", timeout=2) as answer:  # noqa: S310 - checked above
            return bool(answer.status == 200)
    except OSError:
        return False
