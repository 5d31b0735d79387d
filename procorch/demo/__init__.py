"""The demo's work, apart from the command that prints it: HumanEval on a pool of agents."""
