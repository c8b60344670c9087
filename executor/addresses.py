"""TCP addresses: what a process listens on, what it reaches (SPEC §7, §10, §11)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """`host:port`, an IPv6 host in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError that says what is accepted."""
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        if not host or port is None or parts.path or parts.query or parts.fragment or "@" in text:
            raise ValueError(f"{text!r}: expected host:port, for example 127.0.0.1:7070")
        return cls(host, port)

    @property
    def is_loopback(self) -> bool:
        """Whether nobody off this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
