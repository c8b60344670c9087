"""What the dashboards show. Each metric is in docs/metrics.md, or is one of the JuiceFS mount's own."""

from __future__ import annotations

from typing import Final

from scripts.dashboards.panels import Board, Graph, Query, Row, Stat


def quantile(share: float, metric: str, by: str = "") -> str:
    """`share` of the observations of the last five minutes took less."""
    group = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({group}) (rate({metric}_bucket[5m])))"


def spread(metric: str) -> list[Query]:
    """The median and the slow end of a histogram."""
    return [Query(quantile(share, metric), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def rate(metric: str, by: str = "") -> str:
    """Events a second."""
    return f"sum by ({by}) (rate({metric}[5m]))" if by else f"sum(rate({metric}[5m]))"


OVERVIEW: Final = Board(
    "wvs-overview",
    "WVS overview",
    [
        Row(
            "Is it well?",
            [
                Stat("API", 'min(up{job="wvs-api"})', good_from=1),
                Stat("Workers", 'sum(up{job="wvs-worker"})', good_from=1),
                Stat("Schedulers", 'sum(up{job="wvs-scheduler"})', good_from=1),
                Stat("Executors", 'sum(up{job="wvs-executor"})', good_from=1),
                Stat("Volume mounted", "min(wvs_executor_mount_up)", good_from=1),
                Stat("Alerts firing", 'count(ALERTS{alertstate="firing"}) or vector(0)', bad_from=1),
            ],
        ),
        Row(
            "What tasks achieve (objective: 99.95 % succeed)",
            [
                Stat("Success, 1 h", "wvs:task_success:ratio_1h", "percentunit", good_from=0.9995, decimals=3),
                Stat("Success, 30 d", "wvs:task_success:ratio_30d", "percentunit", good_from=0.9995, decimals=3),
                Stat("Died, 24 h", 'sum(increase(wvs_task_total{status="DEAD"}[24h]))', bad_from=1, decimals=0),
                Stat("DEAD, 7 d", "max(wvs_task_dead)", bad_from=1, decimals=0),
                Stat("Waiting now", "max(wvs_task_queue_depth)", bad_from=100, decimals=0),
                Stat("Waits for longest", "max(wvs_task_oldest_waiting_seconds)", "s", bad_from=600),
            ],
        ),
        Row(
            "Work",
            [
                Graph("Tasks that ended", "ops", [Query(rate("wvs_task_total", "status"), "{{status}}")]),
                Graph(
                    "Accepted → finished, p95",
                    "s",
                    [Query(quantile(0.95, "wvs_task_duration_seconds", "op"), "{{op}}")],
                ),
            ],
        ),
        Row(
            "Callers and agents",
            [
                Graph("Requests", "reqps", [Query(rate("wvs_http_requests_total", "code"), "{{code}}")]),
                Graph("An agent's standstill", "s", spread("wvs_freeze_seconds")),
            ],
        ),
    ],
)

OPERATIONS: Final = Board(
    "wvs-operations",
    "WVS operations",
    [
        Row(
            "API",
            [
                Graph(
                    "p95 by route",
                    "s",
                    [
                        Query(
                            quantile(0.95, "wvs_http_request_duration_seconds", "route, method"), "{{method}} {{route}}"
                        )
                    ],
                ),
                Graph(
                    "Errors by route",
                    "reqps",
                    [Query(rate('wvs_http_requests_total{code=~"5.."}', "route, code"), "{{code}} {{route}}")],
                ),
                Graph("Requests in work", "short", [Query("sum(wvs_active_requests)", "requests")]),
            ],
        ),
        Row(
            "Queue",
            [
                Graph("Depth", "short", [Query("max(wvs_task_queue_depth)", "waiting")]),
                Graph("Due → begun", "s", spread("wvs_task_wait_seconds")),
                Graph("Waiting for a workspace's lock", "s", spread("wvs_lock_wait_seconds")),
            ],
        ),
        Row(
            "What goes wrong",
            [
                Graph("Retries", "ops", [Query(rate("wvs_task_retry_total", "op"), "{{op}}")]),
                Graph("Rescues", "ops", [Query(rate("wvs_task_rescued_total", "reason"), "{{reason}}")]),
                Graph("Failed attempts", "ops", [Query(rate("wvs_clone_fail_total", "reason"), "{{reason}}")]),
                Graph("Drift, 1 h", "short", [Query("sum by (kind) (increase(wvs_drift_total[1h]))", "{{kind}}")]),
            ],
        ),
        Row(
            "Freezes",
            [
                Graph("From the request to the ack", "s", spread("wvs_quiesce_wait_seconds")),
                Graph("Standstill", "s", spread("wvs_freeze_seconds")),
                Graph(
                    "Unanswered, and stale after it",
                    "ops",
                    [
                        Query(rate("wvs_quiesce_timeout_total"), "unanswered"),
                        Query(rate("wvs_resume_stale_total"), "stale"),
                    ],
                ),
            ],
        ),
        Row(
            "Execution",
            [
                Graph("Clone, p95", "s", [Query(quantile(0.95, "wvs_clone_duration_seconds", "op"), "{{op}}")]),
                Graph("Entries cloned", "ops", [Query(rate("wvs_clone_entries_total", "op"), "{{op}}")]),
                Graph("Switch", "s", spread("wvs_switch_duration_seconds")),
                Graph("Tasks in work", "short", [Query("sum(wvs_executor_active_tasks)", "tasks")]),
            ],
        ),
        Row(
            "Workspaces",
            [
                Graph(
                    "Transitions, 1 h",
                    "short",
                    [
                        Query(
                            "sum by (from, to) (increase(wvs_workspace_state_transitions_total[1h]))",
                            "{{from}} → {{to}}",
                        )
                    ],
                ),
                Graph("Bells that brought nothing", "ops", [Query(rate("wvs_dequeue_empty_total"), "empty")]),
            ],
        ),
    ],
)

STORAGE: Final = Board(
    "wvs-storage",
    "WVS storage",
    [
        Row(
            "The volume",
            [
                Stat("Used", "max(juicefs_used_space)", "bytes"),
                Stat("Inodes", "max(juicefs_used_inodes)"),
                Stat("Mounts", 'sum(up{job="juicefs"})', good_from=1),
                Stat("Mounted for", "min(juicefs_uptime)", "s"),
            ],
        ),
        Row(
            "Growth",
            [
                Graph("Space", "bytes", [Query("max(juicefs_used_space)", "used")]),
                Graph("Inodes", "short", [Query("max(juicefs_used_inodes)", "used")]),
            ],
        ),
        Row(
            "Objects",
            [
                Graph(
                    "Requests, p95",
                    "s",
                    [
                        Query(
                            quantile(0.95, "juicefs_object_request_durations_histogram_seconds", "method"), "{{method}}"
                        )
                    ],
                ),
                Graph("Data", "Bps", [Query(rate("juicefs_object_request_data_bytes", "method"), "{{method}}")]),
                Graph("Errors", "ops", [Query(rate("juicefs_object_request_errors"), "errors")]),
            ],
        ),
        Row(
            "File operations and metadata",
            [
                Graph("File operations", "s", spread("juicefs_fuse_ops_durations_histogram_seconds")),
                Graph("Transactions", "s", spread("juicefs_transaction_durations_histogram_seconds")),
                Graph(
                    "Rates",
                    "ops",
                    [
                        Query(rate("juicefs_fuse_ops_durations_histogram_seconds_count"), "file operations"),
                        Query(rate("juicefs_transaction_durations_histogram_seconds_count"), "transactions"),
                    ],
                ),
            ],
        ),
        Row(
            "The mount's process",
            [
                Graph(
                    "Block cache hits",
                    "percentunit",
                    [
                        Query(
                            "sum(rate(juicefs_blockcache_hits[5m])) / (sum(rate(juicefs_blockcache_hits[5m]))"
                            " + sum(rate(juicefs_blockcache_miss[5m])))",
                            "hits",
                        )
                    ],
                ),
                Graph("Memory", "bytes", [Query("max by (instance) (juicefs_memory)", "{{instance}}")]),
                Graph("Open files", "short", [Query("max by (instance) (juicefs_fuse_open_handlers)", "{{instance}}")]),
            ],
        ),
    ],
)

BOARDS: Final = {"overview": OVERVIEW, "operations": OPERATIONS, "storage": STORAGE}
