"""The API over a platform in memory."""

from tests.parts.api import api, platform

__all__ = ["api", "platform"]
