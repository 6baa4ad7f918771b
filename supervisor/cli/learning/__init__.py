"""`unboxed learn`: what a service does while it is watched, and the unit file that comes of it."""
