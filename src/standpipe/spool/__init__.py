"""Bytes that survive: record format, segments, positions, recovery, and durable dead letters."""
