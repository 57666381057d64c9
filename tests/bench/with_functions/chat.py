"""Duo Chat."""

from typing import Any

from definitions import Context, Feature

feature = Feature("chat", owner="duo-chat")


@feature.events(request_duo_chat_response=6)
def response(_: Context) -> dict[str, Any]:
    """Keeps nothing."""
    return {}
