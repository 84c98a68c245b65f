from __future__ import annotations

import json
import logging
import sys

from dataflow_runtime.api import JsonFormatter
from dataflow_runtime.config.secrets import forget_secrets, remember_secrets

SECRET = "planted-secret-of-the-log"


def test_the_log_masks_secrets_in_messages_and_tracebacks() -> None:
    try:
        remember_secrets([SECRET])
        try:
            raise ValueError(f"cannot connect with {SECRET}")
        except ValueError:
            record = logging.LogRecord(
                "uvicorn", logging.ERROR, "x.py", 1, "found %s", (SECRET,), sys.exc_info()
            )
        record.request_id = "one"
        line = JsonFormatter().format(record)
    finally:
        forget_secrets()
    assert SECRET not in line
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == "found **********"
    assert found["traceback"].endswith("ValueError: cannot connect with **********")
    assert found["request_id"] == "one"
