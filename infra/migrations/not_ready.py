"""`NotReady`: what a deployment needs is missing, so that it could not work."""


class NotReady(Exception):
    """The deployment has changed nothing; the message names the cause and what to do, for CloudFormation's event."""
