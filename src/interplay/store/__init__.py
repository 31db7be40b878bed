"""Truth on disk: one folder a run, committed once, and one table of results that can always be rebuilt."""
