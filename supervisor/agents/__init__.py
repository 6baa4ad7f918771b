"""Agents that come with the package: ordinary programs beside the units that they attend to. Each
is a folder here with `main(argv) -> int`, and knows the supervisor by its control interface only.
"""
