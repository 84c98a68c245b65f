"""The browser of the integration tests."""

from tests.integration.conftest import browser

__all__ = ["browser"]
