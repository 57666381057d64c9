"""Sessions of the agent platform."""

from definitions import Feature, Payload, source


class AgenticChat(Payload):
    """A session of an agent."""

    project_id: int | None = None
    session_id: int | None = source("value")
    flow_type: str | None = source("label")
    environment: str | None = source("property")


feature = Feature("agentic_chat", owner="agent-foundations", payload=AgenticChat)
feature.events(
    agent_platform_session_created=8,
    agent_platform_session_started=9,
    agent_platform_session_finished=19,
    agent_platform_session_dropped=20,
    agent_platform_session_stopped=21,
    agent_platform_session_resumed=22,
)
