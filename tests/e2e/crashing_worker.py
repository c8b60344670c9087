"""A worker that serves one workspace once, with the executor in process, and dies at its failpoint.

Run as `python -m tests.e2e.crashing_worker WSID` with WVS_FAILPOINTS set. Ends with 0 if it came through.
"""

from __future__ import annotations

import sys

import django

django.setup()

from executor import failpoints  # noqa: E402 — Django must be set up first
from executor.local import open_local_executor  # noqa: E402
from tasks.worker import build_engine  # noqa: E402
from wvs_project.config import get_config  # noqa: E402


def main(wsid: str) -> None:
    config = get_config()
    failpoints.configure(config.failpoints)
    engine = build_engine(config, open_local_executor())
    engine.serve(wsid)
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1])
