"""Slurm: an executor of jobs through submitit."""
