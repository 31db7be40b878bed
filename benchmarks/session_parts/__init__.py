"""The parts of `gpu_session`: each module has ``sections``, and is imported when its part is asked for."""
