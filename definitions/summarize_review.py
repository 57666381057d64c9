"""Summaries of reviews of merge requests."""

from definitions import Feature

feature = Feature("summarize_review", owner="code-review")
feature.events(summarize_review=36)
