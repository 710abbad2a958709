"""One Dify for all cases, which run in their order: each leaves the logs that the next one needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("live")
    found = Installation(folder)
    try:
        found.start_difylog()
        yield found
    finally:
        found.stop_all()
