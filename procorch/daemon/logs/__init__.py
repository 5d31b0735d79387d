"""The output of agents in files: written, rotated, compressed, read and followed."""
