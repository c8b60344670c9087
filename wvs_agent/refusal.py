"""What an agent raises that does not want to, or cannot, stand still."""

from __future__ import annotations


class FreezeRefusedError(Exception):
    """Raised by on_freeze: FROZEN is not said, and the reason is logged as a matter of course, not as a fault."""
