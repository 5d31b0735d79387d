"""Futures of requests, of streamed answers and of chunks; streams of events."""
