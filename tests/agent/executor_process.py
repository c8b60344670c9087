"""An executor in a process of its own that freezes and then waits: `… WORKSPACE LEASE`. Says frozen, thawed."""

from __future__ import annotations

import sys
from pathlib import Path

from executor.contract import StopSignal
from executor.freeze import freeze
from executor.layout import Layout
from observation.logs import configure_logging
from tests.agent.scene import Limits, a_task


def main() -> None:
    configure_logging("warning", "json")
    root, lease = Path(sys.argv[1]), float(sys.argv[2])
    ws = Layout(root.parent).workspace(root.name)
    with freeze(ws, a_task(), Limits(freeze_lease=lease), StopSignal()) as quiet:
        sys.stdout.write(f"frozen attached={quiet.attached}\n")
        sys.stdout.flush()
        sys.stdin.readline()
    sys.stdout.write("thawed\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
