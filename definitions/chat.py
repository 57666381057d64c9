"""Duo Chat."""

from definitions import Feature

feature = Feature("chat", owner="duo-chat")
feature.events(request_duo_chat_response=6)

feature.metrics_beside(duoChatInteractionsCount="requestDuoChatResponseEventCount")
feature.metrics_beside(duoChatContributorsCount="contributorsCount")
