"""LLM libraries as agents: one module each, loaded in the worker that needs it and nowhere else."""
