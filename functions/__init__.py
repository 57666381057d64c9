"""The functions that run in AWS Lambda, and what they share."""
