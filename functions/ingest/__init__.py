"""From the producer to PostgreSQL: `api` puts events on the queue, `consumer` stores them."""
