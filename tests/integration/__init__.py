"""The queue, secrets, schedules and the deployment, on a LocalStack."""
