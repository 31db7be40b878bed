"""Proof of the verdict engine: problems in closed form, simulated studies with a known truth, and bounds."""
