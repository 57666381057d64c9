"""What a query asks for, free of GraphQL: selection, conditions, paths, aggregation, and what a store answers."""
