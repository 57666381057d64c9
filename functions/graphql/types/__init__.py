"""The types of the GraphQL schema and their resolvers."""
