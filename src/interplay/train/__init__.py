"""Training: a spec and its data in, one `RunRecord` out. Knows no store, no executor, no tracker."""
