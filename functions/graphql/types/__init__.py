"""Types of the GraphQL schema, with their resolvers."""
