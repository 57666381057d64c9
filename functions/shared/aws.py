"""The session that functions make their clients of AWS with, which knows the services that they use."""

from functools import cache

import boto3
import botocore.session
from botocore.loaders import Loader

SERVICES = ("secretsmanager", "sqs")


@cache
def session() -> boto3.Session:
    """Returns the session of this process, which can make clients of `SERVICES`. Opens no connection."""
    inner = botocore.session.get_session()
    inner.register_component("data_loader", _Loader())
    return boto3.Session(botocore_session=inner)


class _Loader(Loader):
    """Reads how services are called.

    Making a client looks for its service among all that botocore knows, which are hundreds of folders to look into, and
    a third of the client's time.
    """

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - each has every type of text
        return list(SERVICES)
