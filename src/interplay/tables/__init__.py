"""Measurements of other tools: any table of runs as typed knobs and metrics."""
