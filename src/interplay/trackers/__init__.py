"""Trackers: whoever follows a run from outside. The null tracker is the default; none of them can change a number."""
