"""`python -m wvs_project.stack.throwaway COMMAND…`: run a command with an empty PostgreSQL that goes afterwards.

For commands that only look at the code but want a database to answer, such as `makemigrations --check`.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from wvs_project.stack.config import read_stack_config
from wvs_project.stack.places import PASSABLE
from wvs_project.stack.postgres import Database, PostgresServer
from wvs_project.stack.stopping import StopAsked, stop_signals


def run_with_database(argv: list[str]) -> int:
    """Run `argv` with WVS_DB_DSN and what else Django's settings ask for. Returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="wvs-throwaway-") as directory:
        base = Path(directory).resolve()
        base.chmod(PASSABLE)
        server = PostgresServer(base, log=base / "log", password=secrets.token_urlsafe(16), durable=False)
        try:
            server.start()
            environment = {
                **read_stack_config().environment,
                "WVS_DB_DSN": server.ensure(Database("wvs", secrets.token_urlsafe(16))),
                "WVS_REDIS_URL": "redis://127.0.0.1:1/0",
                "WVS_SECRET_KEY": secrets.token_urlsafe(48),
                "EXECUTOR_ADDRS": "local",
            }
            return subprocess.run(argv, env=environment, check=False).returncode
        finally:
            server.stop()
            server.destroy()


if __name__ == "__main__":
    with stop_signals():
        try:
            sys.exit(run_with_database(sys.argv[1:]))
        except StopAsked:
            sys.exit(130)
