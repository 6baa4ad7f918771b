"""What the tests of isolation with a whole supervisor share."""
from __future__ import annotations

from tests.stack import Stack


def written(stack: Stack, key: str, words: str) -> str:
    """What a service wrote, as soon as `words` are in it."""
    directory = stack.log / key.replace("/", "@")

    def text() -> str:
        return "".join(path.read_text() for path in sorted(directory.glob("*.log")))

    stack.until(lambda: words in text(), f"{words!r} in the log of {key}")
    return text()
