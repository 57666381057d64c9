"""Tests of the queue, secrets and the deployment on LocalStack."""
