"""A study is a set of run specifications, with the question they answer. Presets, grids and TOML files make them."""
