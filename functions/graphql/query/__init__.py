"""The read model, free of GraphQL: selection, conditions, paths, aggregation, and the protocols of a store."""
