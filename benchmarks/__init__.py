"""How fast procorch is, measured beside what else does such work: ``python -m benchmarks``."""
