"""Root cause analysis of failed CI jobs."""

from typing import Any

from definitions import Context, Feature, Payload


class TroubleshootJob(Payload):
    """The job that was analysed."""

    job_id: int | None = None
    project_id: int | None = None
    pipeline_id: int | None = None
    merge_request_id: int | None = None


feature = Feature("troubleshoot_job", owner="pipeline-execution", payload=TroubleshootJob)


@feature.events(troubleshoot_job=7)
def troubleshooting(context: Context) -> dict[str, Any]:
    """Reads the ids from the context's `job`, and from the job's `pipeline` if there is one."""
    job = context["job"]
    pipeline = job.get("pipeline") or {}
    return {
        "job_id": job["id"],
        "project_id": job.get("project_id"),
        "pipeline_id": pipeline.get("id"),
        "merge_request_id": pipeline.get("merge_request_id"),
    }
