"""Carries events from producers to PostgreSQL: `api` puts events on the queue, `consumer` stores them."""
