"""The session that functions make their clients of AWS with, which knows the services that they use."""

from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

SERVICES = ("dynamodb", "secretsmanager", "sqs")


@cache
def session() -> boto3.Session:
    """Returns the session of this process, which can make clients of `SERVICES`. Opens no connection."""
    inner = botocore.session.get_session()
    inner.register_component("data_loader", _Loader())
    return boto3.Session(botocore_session=inner)


def impatient_client(service: Any, connect_seconds: float, read_seconds: float, attempts: int = 2) -> Any:
    """Returns a client that gives up early, because the time of a function is limited.

    Args:
        connect_seconds: time limit of connecting, for each attempt.
        read_seconds: time limit of waiting for bytes of the answer, for each attempt.
        attempts: how often a call is tried in all.
    """
    patience = Config(
        connect_timeout=connect_seconds, read_timeout=read_seconds, retries={"total_max_attempts": attempts}
    )
    return session().client(service, config=patience)


class _Loader(Loader):
    """Reads how services are called.

    Making a client looks for its service among all that botocore knows, which are hundreds of folders to look into, and
    a third of the client's time.
    """

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - each has every type of text
        return list(SERVICES)
