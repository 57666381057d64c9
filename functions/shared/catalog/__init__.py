"""The catalog of definitions: features, events, payloads and metrics, as teams write them."""
