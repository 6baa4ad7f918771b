"""What the tests of real sandboxes share."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.keeper.keeperclient import Keeper, Peer


@pytest.fixture(scope="module")
def manager() -> Iterator[Peer]:
    with Keeper() as keeper:
        yield keeper.manager()
