"""What operators do with stored, rejected and dead events, with the directory and with tokens."""
