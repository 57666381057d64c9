"""Checks which addresses can be reached from the machine that runs the check."""

import os
import socket
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError
from psycopg.conninfo import conninfo_to_dict

from infra.doctor.finding import Finding, Page, failed, ok, warning
from infra.doctor.system import System

CONNECT_SECONDS = 3
_SERVICES = ("secretsmanager", "sqs", "lambda", "s3")
_CLICKHOUSE_PORTS = {"clickhouse": 8123, "clickhouses": 8443, "http": 8123, "https": 8443}


class Address(NamedTuple):
    """An address that the system needs."""

    name: str
    host: str
    port: int


def check_network(system: System) -> Iterator[Finding]:
    """Connects to each address once."""
    known = dict[tuple[str, int], Address]()
    for address in _addresses(system):
        known.setdefault((address.host, address.port), address)
    for address in known.values():
        yield reached(address)
    yield from _check_aws(system, set(known))


def _addresses(system: System) -> Iterator[Address]:
    for name, url in (("PostgreSQL", system.owner), ("writer", system.writer), ("reader", system.reader)):
        if url is not None:
            yield from postgres_addresses(name, url)
    if system.clickhouse is not None:
        parts = urlsplit(system.clickhouse)
        yield Address("ClickHouse", parts.hostname or "localhost", parts.port or _CLICKHOUSE_PORTS[parts.scheme])
    if system.jwks is not None:
        yield _address_of("keys of the issuer", system.jwks)


def postgres_addresses(name: str, url: str) -> Iterator[Address]:
    """Yields the addresses of a URL, which may name several; none for sockets. libpq's `PGHOSTADDR` wins over hosts."""
    known = conninfo_to_dict(url)
    hosts = str(known.get("hostaddr") or os.environ.get("PGHOSTADDR") or known.get("host") or "").split(",")
    ports = str(known.get("port") or 5432).split(",")
    for number, host in enumerate(hosts):
        if host and not host.startswith("/"):
            yield Address(name, host, int(ports[min(number, len(ports) - 1)] or 5432))


def _address_of(name: str, url: str) -> Address:
    parts = urlsplit(url)
    return Address(name, parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))


def _check_aws(system: System, known: set[tuple[str, int]]) -> Iterator[Finding]:
    if not system.is_on_aws:
        remedy = "Set QUEUE_URL and the settings that name secrets, to check what is in AWS too."
        yield warning("Network: AWS", "no setting names anything in AWS", remedy, Page.NETWORK)
        return
    for service in _SERVICES:
        try:
            endpoint = _endpoint(service)
        except (BotoCoreError, ValueError) as error:
            remedy = "Name the region in AWS_DEFAULT_REGION."
            yield failed("Network: AWS", f"no address for {service}: {error}", remedy, Page.NETWORK)
            return
        address = _address_of(f"AWS, {service}", endpoint)
        if (address.host, address.port) not in known:
            known.add((address.host, address.port))
            yield reached(address)


def _endpoint(service: str) -> str:
    return str(boto3.Session().client(service).meta.endpoint_url)  # type: ignore[call-overload]


def reached(address: Address) -> Finding:
    """Connects to an address once."""
    check, where = f"Network: {address.name}", f"{address.host}:{address.port}"
    try:
        socket.create_connection((address.host, address.port), CONNECT_SECONDS).close()
    except socket.gaierror:
        remedy = "Correct the name of the host, or the resolver of this machine or network."
        return failed(check, f"{address.host} has no address", remedy, Page.NETWORK)
    except TimeoutError:
        remedy = "Open the way: security groups, routes, NAT or endpoints."
        return failed(check, f"{where} does not answer within {CONNECT_SECONDS} s", remedy, Page.NETWORK)
    except OSError as error:
        remedy = "Start the server, or correct its address and port."
        return failed(check, f"{where} can't be reached: {error.strerror or error}", remedy, Page.NETWORK)
    return ok(check, f"{where} answers")
