"""Unboxed: a host-level process supervisor and init replacement for Linux."""

__version__ = "0.1.0"
