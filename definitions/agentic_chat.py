"""Sessions of the agent platform."""

from definitions import Feature, Payload, source


class AgenticChat(Payload):
    """A session of an agent."""

    project_id: int | None = None
    session_id: int | None = source("value")
    flow_type: str | None = source("label")
    environment: str | None = source("property")


feature = Feature("agentic_chat", owner="agent-foundations", payload=AgenticChat, session_key="session_id")
feature.events(
    agent_platform_session_created=8,
    agent_platform_session_started=9,
    agent_platform_session_finished=19,
    agent_platform_session_dropped=20,
    agent_platform_session_stopped=21,
    agent_platform_session_resumed=22,
)
feature.sessions(
    begins=["agent_platform_session_created", "agent_platform_session_started"],
    ends=["agent_platform_session_finished", "agent_platform_session_dropped", "agent_platform_session_stopped"],
    completes=["agent_platform_session_finished"],
)
