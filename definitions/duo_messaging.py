"""Feedback on messages."""

from definitions import Feature, Payload, source


class DuoMessaging(Payload):
    """What the user thinks of a message."""

    feedback: str | None = source("label")
    workflow_id: int | None = source("value")
    surface: str | None = source("property")


feature = Feature("duo_messaging", owner="duo-chat", payload=DuoMessaging)
feature.events(ai_duo_messaging_feedback_submitted=38)
