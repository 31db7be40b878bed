"""What turns the specification of somebody else's training into a record: a command, or a function.

The lab's own loop is `train.loop.train`, which `executors.attempt` calls in the same place.
"""
