"""Durable batches: many items, each with exactly one outcome, whatever dies meanwhile."""
