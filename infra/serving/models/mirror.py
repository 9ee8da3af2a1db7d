"""What is recorded here and decided on elsewhere: a copy of each file in the team's storage, where there is one."""

import logging
import os
from functools import cached_property
from pathlib import Path

from tasks.system.storage import ObjectStorage

logger = logging.getLogger("slipway.serving")


class Mirror:
    """Copies files below home to SLIPWAY_STORE; what fails is said once, and the file stays here."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = os.environ.get("SLIPWAY_STORE")
        self.failed = False

    @cached_property
    def storage(self) -> ObjectStorage:
        return ObjectStorage(str(self.url), self.home)

    def copy(self, path: Path) -> None:
        """From any thread but the event loop's."""
        if not self.url:
            return
        try:
            self.storage.write(path, path.read_bytes())
            self.failed = False
        except Exception as error:  # the storage's libraries raise whatever they like
            if not self.failed:
                logger.error("%s is not copied to the store, and others after it: %s", path.name, error)
            self.failed = True
