"""The catalog of agents and flows."""

from definitions import Feature

feature = Feature("ai_catalog", owner="workflow-catalog")
feature.events(restore_ai_catalog_item=31)
