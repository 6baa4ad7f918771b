"""`unboxed agent dashboard`: one page that shows what runs, why, and since when."""
from supervisor.agents.dashboard.main import main

__all__ = ["main"]
