"""The observation plane as compose.yml starts it, from Debian's programs, on free ports, beside an embedded stack."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.deploy.installation import services
from wvs_project.stack.config import SOURCES
from wvs_project.stack.processes import Child, Command
from wvs_project.stack.waiting import LOOPBACK, free_port, wait_until

DEPLOY: Final = SOURCES / "deploy"
SECONDS: Final = 60.0
# Faster than in an installation, so that a test need not wait; and what is needed to see a sample at once.
HURRY: Final[Mapping[str, tuple[str, ...]]] = {
    "vmsingle": ("-search.latencyOffset=0s",),
    "vmagent": ("-remoteWrite.flushInterval=200ms",),
    "vmalert": ("-evaluationInterval=1s", "-remoteWrite.flushInterval=200ms"),
    "vmauth": (),
}
PROGRAMS: Final = {"vmsingle": "victoria-metrics"}
PASSWORD: Final = "of-grafana"
SENT: Final = "vmagent_remotewrite_blocks_sent_total"
JUDGED: Final = "vmalert_iteration_duration_seconds_count"


@dataclass
class Monitoring:
    """vmsingle, vmagent, vmalert and vmauth, each with the command of compose.yml but for places and ports."""

    base: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in HURRY})
    _exit: ExitStack = field(default_factory=ExitStack)

    def start(self, targets: Mapping[str, str]) -> None:
        """Scrape `targets`, addresses by the job's name. Raises StackError.

        Nobody asks for a series before it is there: for up to ten seconds vmsingle would know of none.
        """
        self._write_configuration(targets)
        self._run("vmsingle")
        self._run("vmagent")
        self.wait_for(lambda: self._scraped() == targets.keys(), "every job is scraped")
        self._wait_for_more("vmagent", SENT)
        self._flush()
        self._run("vmalert")
        self._run("vmauth")

    def _run(self, name: str) -> None:
        child = Child(
            Command(
                name=name,
                argv=[PROGRAMS.get(name, name), *self._arguments(name), *HURRY[name]],
                log=self.base / f"{name}.log",
                mark=str(self.base),
                env={"PATH": os.environ["PATH"], "VMAUTH_GRAFANA_PASSWORD": PASSWORD},
            )
        )
        self._exit.callback(child.stop, grace=10)
        child.wait_ready(lambda: self.answers(name), limit=SECONDS)

    def _scraped(self) -> set[str]:
        """The jobs whose targets answered."""
        answer = httpx.get(f"{self.url('vmagent')}/api/v1/targets", trust_env=False).raise_for_status()
        return {
            target["labels"]["job"] for target in answer.json()["data"]["activeTargets"] if target["health"] == "up"
        }

    def judged(self) -> None:
        """Until every rule was evaluated on what is stored now, and what came of it can be asked for."""
        self._wait_for_more("vmalert", JUDGED)
        self._flush()

    def _wait_for_more(self, name: str, metric: str) -> None:
        """Until it happened twice: once, it may have begun before."""
        before = self._counted(name, metric)

        def has_happened() -> bool:
            now = self._counted(name, metric)
            return bool(now) and all(count >= before.get(series, 0) + 2 for series, count in now.items())

        self.wait_for(has_happened, f"more of {metric}")

    def _counted(self, name: str, metric: str) -> dict[str, float]:
        """What a program says of itself, by series; those that are zero left out."""
        text = httpx.get(f"{self.url(name)}/metrics", trust_env=False).raise_for_status().text
        found = (line.rpartition(" ") for line in text.splitlines() if line.startswith(metric))
        return {series: float(value) for series, _, value in found if float(value)}

    def _flush(self) -> None:
        httpx.get(f"{self.url('vmsingle')}/internal/force_flush", trust_env=False).raise_for_status()

    def stop(self) -> None:
        self._exit.close()

    def url(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self.ports[name]}"

    def answers(self, name: str) -> bool:
        try:
            return httpx.get(f"{self.url(name)}/health", trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url('vmsingle')}/api/v1/query", params={"query": expression}, trust_env=False)
        return list(answer.raise_for_status().json()["data"]["result"])

    def values(self, expression: str, label: str) -> dict[str, float]:
        return {found["metric"].get(label, ""): float(found["value"][1]) for found in self.query(expression)}

    def total(self, selector: str) -> float:
        """The sum of the series; NaN where there is none."""
        found = self.query(f"sum({selector})")
        return float(found[0]["value"][1]) if found else math.nan

    def alerts(self) -> dict[str, str]:
        """The state of each alert that is not at rest."""
        answer = httpx.get(f"{self.url('vmalert')}/api/v1/alerts", trust_env=False).raise_for_status()
        return {alert["name"]: alert["state"] for alert in answer.json()["data"]["alerts"] or []}

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, limit=SECONDS, what=what)

    def _write_configuration(self, targets: Mapping[str, str]) -> None:
        """As it is shipped, but for the targets and the interval."""
        place = self.base / "vmagent"
        (place / "targets").mkdir(parents=True)
        scrape = (DEPLOY / "vmagent" / "scrape.yml").read_text()
        hurried = scrape.replace("scrape_interval: 15s", "scrape_interval: 1s").replace("timeout: 10s", "timeout: 1s")
        (place / "scrape.yml").write_text(hurried)
        for job, address in targets.items():
            (place / "targets" / f"{job}.yml").write_text(json.dumps([{"targets": [address]}]))
        auth = (DEPLOY / "vmauth" / "auth.yml").read_text()
        (self.base / "auth.yml").write_text(auth.replace("http://vmsingle:8428", self.url("vmsingle")))

    def _arguments(self, name: str) -> list[str]:
        return [self._here(argument) for argument in services()[name]["command"]]

    def _here(self, argument: str) -> str:
        own = {"vmsingle": 8428, "vmagent": 8429, "vmauth": 8427, "vmalert": 8880}
        for name, port in own.items():
            argument = argument.replace(f"http://{name}:{port}", self.url(name))
            argument = argument.replace(f"-httpListenAddr=:{port}", f"-httpListenAddr={LOOPBACK}:{self.ports[name]}")
        places = {
            "=/storage": f"={self.base}/storage",
            "=/buffer": f"={self.base}/buffer",
            "/etc/vmagent": str(self.base / "vmagent"),
            "/etc/vmalert": str(DEPLOY / "vmalert"),
            "/run/secrets/vmauth_config": str(self.base / "auth.yml"),
            "http://alertmanager:9093": f"http://{LOOPBACK}:1",  # nobody there: alerts are asked for, not sent
        }
        for there, here in places.items():
            argument = argument.replace(there, here)
        return argument


def targets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Where an embedded stack with one executor apart shows its metrics."""
    names = {
        "wvs-api": "API",
        "wvs-worker": "WORKER",
        "wvs-scheduler": "SCHEDULER",
        "wvs-executor": "EXECUTOR_1",
        "juicefs": "JUICEFS",
    }
    return {job: environment[f"WVS_METRICS_URL_{name}"].removeprefix("http://") for job, name in names.items()}
