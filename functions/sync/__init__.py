"""From PostgreSQL to ClickHouse: what is there already, and what comes, by one mechanism."""
