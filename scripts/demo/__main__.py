"""The main job of WVS, step by step with timings: `python -m scripts.demo --api-url URL --mount DIRECTORY`.

Every step checks what it shows. Exit code 0 only if every check held.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from scripts.demo.clients import AgentProcess, Api, Failed
from scripts.demo.tree import describe, differences

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Story:
    """The demonstration's workspace and what was done to it so far."""

    api: Api
    wsid: str
    workspace: Path
    notes: list[str] = field(default_factory=list)
    _step: int = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step: its time, and what `note` said in it."""
        self._step += 1
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            console.print(f"[red]✗[/red] {self._step:>2}  {escape(title)}")
            raise
        seconds = time.monotonic() - begun
        console.print(f"[green]✓[/green] {self._step:>2}  {escape(title):<58} [bold]{seconds:6.2f} s[/bold]")
        for note in self.notes:
            console.print(f"       [dim]{escape(note)}[/dim]")
        self.notes.clear()

    def note(self, text: str) -> None:
        """A line below the step."""
        self.notes.append(text)

    @property
    def path(self) -> str:
        """Of this workspace in the API."""
        return f"/workspaces/{self.wsid}"

    def tree(self) -> dict[str, str]:
        """The tree as the agent has it now."""
        return describe((self.workspace / "current").resolve())

    def snapshot(self, message: str) -> str:
        """Take one and wait for it."""
        accepted = self.api.call("POST", f"{self.path}/snapshots", 202, {"message": message})
        self.api.finish(accepted["task_id"])
        return str(accepted["snapshot_id"])

    def set_current(self, snapshot_id: str, **more: object) -> dict[str, Any]:
        """Switch and wait for it."""
        accepted = self.api.call("POST", f"{self.path}/current:set", 202, {"snapshot_id": snapshot_id, **more})
        return self.api.finish(accepted["task_id"])

    def refused(self, method: str, path: str, status: int, code: str, body: dict[str, Any] | None = None) -> None:
        """A request that must be refused, with a reason that names what stands in the way."""
        answer = self.api.call(method, path, status, body)
        check(answer["code"] == code, f"code {answer['code']} instead of {code}")
        blockers = answer["details"].get("blockers")
        check(blockers, f"no blockers in {answer}")
        self.note(f"{status} {code}: {answer['message']}")
        self.note(f"blockers: {blockers}")


def check(condition: object, message: str) -> None:
    """Raises Failed with `message` unless `condition` holds."""
    if not condition:
        raise Failed(message)


def tell(story: Story, entries: dict[str, str]) -> None:
    """Why an equal tree is worth something."""
    story.note(f"{len(entries)} entries equal: content byte by byte, modes, owners, symlink targets")


def standstill(story: Story, agent: AgentProcess) -> None:
    """How long the agent stood still, by its own clock."""
    said = agent.order("tell")
    check(said["standstills"], "the agent was not frozen")
    story.note(f"the agent stood still for {sum(said['standstills']) * 1000:.0f} ms; it sees {said['tree']}")


def back_to(story: Story, agent: AgentProcess, snapshot_id: str, wanted: dict[str, str], **more: object) -> None:
    """Switch to a snapshot and compare the tree."""
    task = story.set_current(snapshot_id, **more)
    check(not task["result"].get("noop"), "nothing was cloned")
    differing = differences(wanted, story.tree())
    check(not differing, f"the tree differs: {differing}")
    tell(story, wanted)
    standstill(story, agent)


def wreck(story: Story, agent: AgentProcess, wanted: dict[str, str]) -> None:
    """Let the agent ruin its tree, and see that it did."""
    agent.order("wreck")
    differing = differences(wanted, story.tree())
    check(differing, "nothing was wrecked")
    story.note(f"{len(differing)} entries differ from the snapshot")


def with_agent(story: Story, agent: AgentProcess) -> str:
    """All that an agent is part of. Returns the snapshot that is current at the end."""
    with story.step("the agent writes a small project"):
        agent.order("write")
        project = story.tree()
        story.note(f"{len(project)} entries: text, binary, sparse, symlinks, odd names, an empty directory, mode 0755")
    with story.step("snapshot"):
        first = story.snapshot("the project works")
        item = story.api.call("GET", f"{story.path}/snapshots/{first}", 200)
        check(item["entries"] == len(project) - 1, f"{item['entries']} entries instead of {len(project) - 1}")
        story.note(f"{first}: {item['entries']} entries, {item['bytes']} bytes")
        standstill(story, agent)
    with story.step("the agent wrecks the project"):
        wreck(story, agent, project)
    with story.step("set current: back to the snapshot"):
        back_to(story, agent, first, project)
    with story.step("the agent wrecks it again"):
        wreck(story, agent, project)
    with story.step("set current to the same snapshot, with fresh"):
        back_to(story, agent, first, project, fresh=True)
    with story.step("a second snapshot, and its drop"):
        second = story.snapshot("not needed for long")
        dropped = story.api.call("DELETE", f"{story.path}/snapshots/{second}", 202)
        story.api.finish(dropped["task_id"])
        story.api.call("GET", f"{story.path}/snapshots/{second}", 404)
        check(not (story.workspace / "snapshots" / second).exists(), "its directory is still there")
        story.note(f"{second}: 404, and its directory is gone")
    return first


def tell_story(api: Api, mount: Path) -> None:
    """Every step. Raises Failed at the first check that does not hold."""
    wsid = f"demo-{uuid.uuid4().hex[:8]}"
    story = Story(api, wsid, mount / wsid)
    with story.step(f"a workspace is made: {wsid}"):
        made = api.call("POST", "/workspaces", 202, {"wsid": wsid, "owner": "demo"})
        api.finish(made["init_task_id"])
        check(api.call("GET", story.path, 200)["state"] == "ACTIVE", "the workspace is not ACTIVE")
        story.note(f"on disk: {story.workspace}")
    begun = time.monotonic()
    with AgentProcess(story.workspace) as agent:
        story.note(f"its process started and attached in {time.monotonic() - begun:.2f} s")
        current = with_agent(story, agent)
    with story.step("the drop of the current snapshot is refused"):
        in_use = "WVS_CONFLICT_SNAPSHOT_IN_USE"
        story.refused("DELETE", f"{story.path}/snapshots/{current}", 409, in_use)
    with story.step("the workspace is disabled; a write is refused"):
        check(api.call("DELETE", story.path, 200)["state"] == "DISABLED", "the workspace is not DISABLED")
        story.refused("POST", f"{story.path}/snapshots", 410, "WVS_GONE", {"message": "too late"})


def main() -> int:
    """Exit code 0 if every check held, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__)
    parser.add_argument("--api-url", required=True, help="for example http://127.0.0.1:8080")
    parser.add_argument(
        "--mount", required=True, type=Path, help="the directory of the workspaces (EXECUTOR_MOUNT_PATH)"
    )
    arguments = parser.parse_args()
    begun = time.monotonic()
    with closing(Api(arguments.api_url)) as api:
        try:
            tell_story(api, arguments.mount)
        except (Failed, httpx.HTTPError) as error:
            console.print(f"[red]the demonstration failed:[/red] {escape(str(error) or repr(error))}")
            return 1
    console.print(f"[green]every check held[/green] in {time.monotonic() - begun:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
