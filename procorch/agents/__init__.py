"""What an agent is, its conversation, its context in a worker, and adapters of LLM libraries."""
