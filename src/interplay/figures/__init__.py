"""Figures: they draw results of the analysis and compute nothing."""
