"""Definitions with payload keys of every type."""

BUILDS = """
from datetime import datetime

import msgspec


class Owner(Payload):
    team: str | None = None


class Machine(Payload):
    cores: int | None = None
    owner: Owner | None = None


class Step(Payload):
    name: str
    seconds: float | None = None


class Build(Payload):
    size: int
    ratio: float | None = None
    done: bool | None = None
    at: datetime | None = None
    branch: str | None = msgspec.field(default=None, name="ref_name")
    tags: list[str] | None = None
    grid: list[list[int]] | None = None
    times: list[datetime] | None = None
    steps: list[Step] | None = None
    machine: Machine | None = None


feature = Feature("builds", owner="runner", payload=Build)
feature.events(build_finished=1)
"""
DEPLOYMENTS = """
import msgspec


class Deployment(Payload):
    size: int | None = None
    number: int | None = msgspec.field(default=None, name="refName")


feature = Feature("deployments", owner="environments", payload=Deployment)
feature.events(deployed=2)
"""
