"""Several runs trained at once as one network."""
