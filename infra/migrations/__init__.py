"""PostgreSQL's schema, and the function that the deployment applies it with."""
