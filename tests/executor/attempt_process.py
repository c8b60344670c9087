"""One attempt in a process of its own: `python -m tests.executor.attempt_process FAILPOINTS REQUEST`."""

from __future__ import annotations

import json
import sys

from executor import failpoints
from executor.contract import ExecuteTask, OperationName, StopSignal
from executor.local import open_local_executor
from observation.logs import configure_logging
from tests.executor.scene import nobody_listens


def main() -> None:
    configure_logging("warning", "json")
    fields = json.loads(sys.argv[2])
    request = ExecuteTask(**{**fields, "op": OperationName(fields["op"])})
    executor = open_local_executor()
    failpoints.configure(sys.argv[1])
    outcome = executor.execute(request, stop=StopSignal(), progress=nobody_listens)
    sys.stdout.write(f"done {json.dumps(outcome.as_json())}\n")


if __name__ == "__main__":
    main()
