"""Queue messages: batches of events with their sender and received-at time."""
