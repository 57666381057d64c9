"""Workloads of workflows, which run in CI."""

from definitions import Feature, Payload


class DuoWorkflow(Payload):
    """The workflow whose workload was completed."""

    workflow_id: int | None = None
    workflow_definition: str | None = None


feature = Feature("duo_workflow", owner="duo-workflow", payload=DuoWorkflow)
feature.events(duo_workflow_workload_completed=27)
