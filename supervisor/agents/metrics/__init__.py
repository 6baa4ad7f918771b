"""The figures of the supervisor and of its units for a Prometheus, and where else it may scrape."""
from supervisor.agents.metrics.main import main

__all__ = ["main"]
