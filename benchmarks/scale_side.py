"""One side of `scale.py`: a process on one of its databases. It answers each line with a line of JSON.

The lines are numbers of probes. The first line, which nobody asked for, names them.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

import django


def main() -> None:
    """Argument: the size of the data, as `scale_data.Size.of` takes it. Ends with its stdin."""
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)  # whatever else is printed is no answer
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wvs_project.settings")
        django.setup()
        # Models can be imported only after the set-up.
        probes = importlib.import_module("benchmarks.scale_probes")
        with probes.prepared(int(sys.argv[1])) as side:
            print(json.dumps([probe.what for probe in side.probes]), file=out)
            for line in sys.stdin:
                print(json.dumps(side.probes[int(line)].run()), file=out)


if __name__ == "__main__":
    main()
