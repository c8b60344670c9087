"""`python -m wvs_agent` is `wvs-agent`."""

from __future__ import annotations

import sys

from wvs_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
