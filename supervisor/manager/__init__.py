"""The loop that joins core and kernel, the only layer that sees both."""
