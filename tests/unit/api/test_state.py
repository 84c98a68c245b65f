from __future__ import annotations

import os
import time
from typing import Any

from dataflow_runtime.api.state import State


def test_workflows_are_found_again_only_when_something_changed(site: Any) -> None:
    folder = site.install("good", "orders")
    past = time.time() - 60
    for file in [site.folder, *site.folder.rglob("*")]:
        os.utime(file, (past, past))
    state = State()
    found = state._find()
    assert [*found.by_name] == ["orders", "good"]
    assert state._find() is found
    (folder / "config.yaml").touch()
    again = state._find()
    assert again is not found
    # Just written: it could be written once more without showing a newer time.
    assert state._find() is not again
