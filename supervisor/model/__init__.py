"""Values that every layer may use: units, events, actions. Standard library and msgspec only."""
