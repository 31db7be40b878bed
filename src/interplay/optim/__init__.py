"""The SGD family with its three kinds of weight decay, and learning rate schedules."""
