"""Networks under study: ``build.build(spec, shape, classes)`` makes the one a spec names."""
