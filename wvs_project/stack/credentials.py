"""The stack's own secrets: made at the first start, kept in `secrets` (0600), the same ever after."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from wvs_project.stack.envfile import read_env_file, write_env_file


@dataclass(frozen=True, slots=True)
class Credentials:
    """Every password of the stack, and Django's key."""

    postgres_password: str
    wvs_db_password: str
    juicefs_meta_password: str
    redis_password: str
    wvs_secret_key: str
    wvs_admin_user: str
    wvs_admin_password: str

    @classmethod
    def of(cls, path: Path, *, admin_user: str | None, admin_password: str | None) -> Self:
        """Read `path`, or make it: random, but for the administrator's if given. Given later, they change nothing."""
        kept = read_env_file(path)
        made = {
            "postgres_password": secrets.token_urlsafe(24),
            "wvs_db_password": secrets.token_urlsafe(24),
            "juicefs_meta_password": secrets.token_urlsafe(24),
            "redis_password": secrets.token_urlsafe(24),
            "wvs_secret_key": secrets.token_urlsafe(48),
            "wvs_admin_user": admin_user or "admin",
            "wvs_admin_password": admin_password or secrets.token_urlsafe(16),
        }
        whole = cls(**{name: kept.get(name.upper(), fresh) for name, fresh in made.items()})
        if whole.as_environment() != kept:
            write_env_file(path, whole.as_environment())
        return whole

    def as_environment(self) -> dict[str, str]:
        """The lines of the file."""
        return {name.upper(): value for name, value in asdict(self).items()}
