"""Flags of each command, as dataclasses; each calls the lab."""
