"""The arguments of the feed process. Pure."""
from __future__ import annotations

USAGE = (
    "--log-dir DIR --progress FILE [--cursor FILE] [--since NS] [--key KEY] [--site DIRS] "
    "PATTERN..."
)
_WITH_VALUE = {"--log-dir", "--progress", "--cursor", "--since", "--key", "--site"}


class Options:
    """`cursor` "": nothing is acknowledged. `since_ns` None: all that is stored. `key`: the
    agent's, whose unit's own streams are left out. `patterns`: keys, units' names or globs."""

    __slots__ = ("cursor", "key", "log_dir", "patterns", "progress", "since_ns")

    def __init__(
        self, log_dir: str, progress: str, patterns: tuple[str, ...], cursor: str = "",
        since_ns: int | None = None, key: str = "",
    ) -> None:
        self.log_dir = log_dir
        self.progress = progress
        self.patterns = patterns
        self.cursor = cursor
        self.since_ns = since_ns
        self.key = key


def parse(argv: list[str]) -> Options:
    """Raises ValueError with a sentence."""
    values: dict[str, str] = {}
    patterns: list[str] = []
    words = iter(argv)
    for word in words:
        if word in _WITH_VALUE:
            values[word] = next(words, "")
        elif word == "--":
            patterns += words
        elif word.startswith("--"):
            raise ValueError(f"cannot use {word}: there is no such option")
        else:
            patterns.append(word)
    for needed in ("--log-dir", "--progress"):
        if not values.get(needed):
            raise ValueError(f"cannot feed: {needed} is missing")
    if not patterns:
        raise ValueError("cannot feed: no pattern says which units")
    since = values.get("--since")
    if since is not None and not since.isdecimal():
        raise ValueError(f"cannot use --since {since!r}: write nanoseconds of the real time")
    return Options(
        values["--log-dir"].rstrip("/") or "/", values["--progress"], tuple(patterns),
        values.get("--cursor", ""), None if since is None else int(since), values.get("--key", ""),
    )
