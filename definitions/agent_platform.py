"""Sessions of the agent platform."""

from definitions import Feature, Payload, source


class AgentPlatform(Payload):
    """A session of an agent."""

    project_id: int | None = None
    session_id: int | None = source("value")
    flow_type: str | None = source("label")
    environment: str | None = source("property")


feature = Feature(
    "agent_platform",
    owner="agent-foundations",
    payload=AgentPlatform,
    former_names=["agentic_chat"],
    session_key="session_id",
)
feature.events(
    agent_platform_session_created=8,
    agent_platform_session_started=9,
    agent_platform_session_finished=19,
    agent_platform_session_dropped=20,
    agent_platform_session_stopped=21,
    agent_platform_session_resumed=22,
)
feature.events_without_payload(
    view_duo_agentic_subscription_expired_empty_state=28,
    click_duo_agentic_subscription_expired_upgrade=29,
    click_duo_agentic_subscription_expired_learn_more=30,
)

feature.sessions(
    begins=["agent_platform_session_created", "agent_platform_session_started"],
    ends=["agent_platform_session_finished", "agent_platform_session_dropped", "agent_platform_session_stopped"],
    completes=["agent_platform_session_finished"],
)

feature.metrics_argument("flowTypes", key="flow_type", description="Only sessions of these flows.")
for step in ("created", "started", "finished", "dropped", "stopped", "resumed"):
    feature.metric(
        f"{step}SessionEventCount",
        events=[f"agent_platform_session_{step}"],
        description=f"How many times a session was {step}.",
    )

feature.session_metrics("flowMetrics", by="flow_type", users_field="userFlowCounts")
