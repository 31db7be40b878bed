"""What the command line and the facade call, a module each: runs and studies, plans, readings, the page, the doctor.

Nothing is exported here: import from the modules, or from `interplay` itself.
"""
