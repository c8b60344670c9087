"""The agent of the demonstration: `python -m scripts.demo.agent WORKSPACE`.

It takes one command a line on its standard input (write, wreck, leave), answers each with a line of JSON, and stands
still when the executor asks. It knows the workspace's `current` and nothing else of WVS.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.demo.tree import wreck, write_project
from wvs_agent import QuiesceWatcher

COMMANDS: Final[dict[str, Callable[[Path], None]]] = {"write": write_project, "wreck": wreck}


class Agent:
    """Works on the tree only while it holds `_working`; a freeze takes that away."""

    def __init__(self, workspace: Path) -> None:
        self._current = workspace / "current"
        self._working = threading.Lock()
        self._frozen_at = 0.0
        self._standstills: list[float] = []
        self._tree = ""

    def pause(self) -> None:
        """Return once nothing writes."""
        self._working.acquire()
        self._frozen_at = time.monotonic()

    def resume(self, current: str) -> None:
        """Go on, in the tree that `current` names."""
        self._standstills.append(time.monotonic() - self._frozen_at)
        self._tree = current
        self._working.release()

    def obey(self, command: str) -> dict[str, object]:
        """Do one piece of work and tell what has happened meanwhile."""
        if command in COMMANDS:
            with self._working:
                COMMANDS[command](self._current)
        said, self._standstills = self._standstills, []
        return {"done": command, "standstills": said, "tree": self._tree}


def main() -> int:
    """Attach, obey until `leave` or the end of the input, detach."""
    workspace = Path(sys.argv[1])
    agent = Agent(workspace)
    with QuiesceWatcher(workspace, agent.pause, agent.resume, agent_id="demo-agent"):
        _answer({"done": "attach"})
        for line in sys.stdin:
            command = line.strip()
            if command == "leave":
                break
            _answer(agent.obey(command))
    _answer({"done": "leave"})
    return 0


def _answer(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
