"""The options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wvsctl.config import OutputMode

ApiUrl = Annotated[str | None, typer.Option("--api-url", metavar="URL", help="The API (WVS_API_URL).")]
Json = Annotated[bool, typer.Option("--json", help="The same as --output json.")]
Output = Annotated[OutputMode | None, typer.Option("--output", "-o", help="table or json (WVS_OUTPUT).")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A configuration file (WVS_CONFIG).")]

Wsid = Annotated[str, typer.Argument(metavar="WSID", help="The workspace.")]
SnapshotId = Annotated[str, typer.Argument(metavar="SNAPSHOT_ID", help="The snapshot.")]
TaskId = Annotated[str, typer.Argument(metavar="TASK_ID", help="The task.")]

Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait until the task has ended.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="How long to wait: 30s, 5m (WVS_TIMEOUT; 10m).")
]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", metavar="KEY", help="To repeat a write without doing it twice. Made if absent."),
]

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many.")]
Cursor = Annotated[str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on where another list ended.")]
All = Annotated[bool, typer.Option("--all", "-a", help="All of them, page by page.")]
OfWorkspace = Annotated[str | None, typer.Option("--wsid", metavar="WSID", help="Only of this workspace.")]
MetricsUrls = Annotated[
    list[str] | None,
    typer.Option("--metrics-url", metavar="URL", help="A metrics port; repeat it for several (WVS_METRICS_URLS)."),
]
PrometheusUrl = Annotated[
    str | None,
    typer.Option(
        "--prometheus-url",
        metavar="URL",
        help="Prometheus or VictoriaMetrics, in place of the ports (WVS_PROMETHEUS_URL).",
    ),
]
Since = Annotated[
    str,
    typer.Option("--since", metavar="TIME", help="How far back Prometheus counts: 30m, 1h. Ports: since their start."),
]
