"""Effects: cgroups, launch plans, host facts, the keeper's client. Knows no phase and no goal."""
