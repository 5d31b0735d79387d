"""Launches workers on the nodes of a Ray cluster (docs/how-to/cluster.md)."""
