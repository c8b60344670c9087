"""`python -m scripts.dashboards`: write deploy/grafana/dashboards/."""

from __future__ import annotations

from pathlib import Path

from scripts.dashboards.boards import BOARDS
from scripts.dashboards.panels import rendered

_PLACE = Path(__file__).resolve().parent.parent.parent / "deploy" / "grafana" / "dashboards"

if __name__ == "__main__":
    for name, board in BOARDS.items():
        (_PLACE / f"{name}.json").write_text(rendered(board))
