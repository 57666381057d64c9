"""The GraphQL function: the read model, its stores, the schema's types, and the handler."""
