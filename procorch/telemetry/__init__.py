"""Event sinks, one small file each."""
