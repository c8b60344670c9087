"""Grafana's dashboards of WVS, as data (`boards.py`) and as Grafana reads them (`panels.py`)."""
