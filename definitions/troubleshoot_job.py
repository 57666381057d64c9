"""Root cause analysis of failed CI jobs."""

from definitions import Feature, Payload, source


class TroubleshootJob(Payload):
    """The job that was analysed."""

    job_id: int = source("job", "id")
    project_id: int | None = source("job", "project_id")
    pipeline_id: int | None = source("job", "pipeline", "id")
    merge_request_id: int | None = source("job", "pipeline", "merge_request_id")


feature = Feature(
    "troubleshoot_job", owner="pipeline-execution", payload=TroubleshootJob, metrics_aliases=["troubleshoot"]
)
feature.events(troubleshoot_job=7)

feature.metrics_beside(rootCauseAnalysisUsersCount="contributorsCount")
