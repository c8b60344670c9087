"""What a table was measured on, and with: numbers of two machines are not to be compared, ratios may be."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psycopg
import redis

from benchmarks.site import Site
from benchmarks.stack import ROOT
from wvs_project.stack.juicefs import juicefs_program

_WHEELS: Final = ("django", "djangorestframework", "psycopg", "dramatiq", "procrastinate", "gunicorn")


def describe(site: Site) -> dict[str, object]:
    """The machine and every version that matters, as the servers of a stack name their own."""
    with psycopg.connect(site.dsn) as connection:
        postgres = connection.execute("SHOW server_version").fetchone()
    with redis.Redis.from_url(site.environment["WVS_REDIS_URL"]) as client:
        server: object = client.info("server")
    assert postgres is not None
    assert isinstance(server, dict)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": postgres[0],
        "valkey": server.get("valkey_version") or server.get("redis_version"),
        "juicefs": _juicefs(),
        "file_system": "JuiceFS" if site.has_juicefs else "plain directory, copied",
        "wvs": _commit(),
        **{name: version(name) for name in _WHEELS},
    }


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.processor()


def _juicefs() -> str:
    found = re.search(r"\d+\.\d+\.\d+", _said([str(juicefs_program()), "version"]))
    return found[0] if found else "unknown"


def _commit() -> str:
    """Of the code, and whether what lies there differs from it; "unknown" where this is no checkout."""
    commit = _said(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"])
    changed = _said(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"{commit or 'unknown'}{' and changes' if changed else ''}"


def _said(argv: Sequence[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
