"""Where runs happen: what is missing goes to workers, and every run that ends is committed to the store."""
