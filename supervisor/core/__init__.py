"""What should happen next, decided without touching anything: graph, phases, step, resume."""
