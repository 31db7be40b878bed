"""From records to estimates to verdicts, with intervals. numpy and scipy only; SCIENCE states the rules it follows."""
