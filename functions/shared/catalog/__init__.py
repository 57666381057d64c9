"""The framework that definitions are written with: features, events, payloads, metrics, and the registry of them."""
