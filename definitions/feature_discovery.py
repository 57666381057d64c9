"""The search for features."""

from definitions import Feature, Payload, source


class FeatureDiscovery(Payload):
    """How a search was answered."""

    resolution_tier: str | None = source("label")
    latency_ms: int | None = source("value")


feature = Feature("feature_discovery", owner="activation", payload=FeatureDiscovery)
feature.events(resolve_feature_discovery_search=46)
