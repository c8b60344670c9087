"""What PromQL names: the metrics of a query, found by a parser, not by a pattern."""

from __future__ import annotations

from typing import Final

import promql_parser

from wvs_project.stack.config import SOURCES

RULES: Final = SOURCES / "deploy" / "vmalert" / "rules.yml"
DASHBOARDS: Final = SOURCES / "deploy" / "grafana" / "dashboards"
# Of a histogram's three series its name is exported.
SUFFIXES: Final = ("_bucket", "_sum", "_count")
# Made by vmagent and vmalert.
OF_THE_PIPELINE: Final = {"up", "ALERTS"}


def metrics_in(query: str) -> set[str]:
    """The names of the series that it reads. Raises ValueError where it is no PromQL."""
    found: set[str] = set()

    def look(node: promql_parser.Expr) -> bool:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector) and selector.name:
            found.add(selector.name)
        return True

    promql_parser.walk(promql_parser.parse(query), look)
    return found


def family_of(metric: str) -> str:
    """`x` of `x_bucket`: what a process says that it exports."""
    return next((metric.removesuffix(suffix) for suffix in SUFFIXES if metric.endswith(suffix)), metric)
