"""Which path, how many at once, how long: measured, then chosen."""
