"""Suggestions that fix a failed pipeline."""

from definitions import Feature

feature = Feature("fix_pipeline", owner="pipeline-execution")
feature.events(fix_pipeline_suggestion_posted=25, fix_pipeline_suggestion_applied=26)
