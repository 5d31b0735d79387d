"""Doing, part three: what runs in a worker process. Free of the parent's code."""
