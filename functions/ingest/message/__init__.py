"""Messages of the queue: batches of events with who sent them and when."""
