"""`python -m benchmarks.django_program MODULE [ARGUMENT…]`: `MODULE.main(arguments)` once Django is set up.

Models can be imported only then, and no module is imported inside a function.
"""

from __future__ import annotations

import importlib
import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wvs_project.settings")
    django.setup()
    sys.exit(importlib.import_module(sys.argv[1]).main(sys.argv[2:]))
