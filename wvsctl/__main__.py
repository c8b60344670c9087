"""`python -m wvsctl` is `wvsctl`."""

from __future__ import annotations

from wvsctl.cli import main

if __name__ == "__main__":
    main()
