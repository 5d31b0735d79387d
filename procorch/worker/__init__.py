"""The code of worker processes. It imports none of the parent's code."""
