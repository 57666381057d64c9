"""Sessions of the agent platform."""

from typing import Any

from definitions import Context, Feature, Payload


class AgentPlatform(Payload):
    """A session of an agent."""

    project_id: int | None = None
    session_id: int | None = None
    flow_type: str | None = None
    environment: str | None = None


feature = Feature("agent_platform", owner="agent-foundations", payload=AgentPlatform)


@feature.events(
    agent_platform_session_created=8,
    agent_platform_session_started=9,
    agent_platform_session_finished=19,
    agent_platform_session_dropped=20,
    agent_platform_session_stopped=21,
    agent_platform_session_resumed=22,
)
def session(context: Context) -> dict[str, Any]:
    """Reads the session from `value`, `label` and `property`, as internal events name them."""
    return {
        "project_id": context.get("project_id"),
        "session_id": context.get("value"),
        "flow_type": context.get("label"),
        "environment": context.get("property"),
    }
