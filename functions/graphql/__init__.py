"""GraphQL: the schema made from the definitions, and what answers it."""
