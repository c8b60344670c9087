"""`wvs-agent run` as a shell sees it: exit codes, signals, the terminal; and that nothing is left behind (SPEC §8)."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.layout import WorkspaceLayout
from tests.agent.running import FREEZERS, PYTHON, Running, running
from tests.agent.scene import ROOT
from tests.waiting import eventually
from wvs_agent import processes
from wvs_agent.config import FREEZER_VARIABLE, FreezerKind

pytestmark = pytest.mark.rule("§8")


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_code_is_the_command_s(ws: WorkspaceLayout, script: str, code: int) -> None:
    with running(ws.root, ["sh", "-c", script]) as run:
        assert run.wait() == code


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_started_has_the_shell_s_exit_code(
    ws: WorkspaceLayout, command: str, code: int
) -> None:
    with running(ws.root, [command], stderr=subprocess.PIPE) as run:
        assert run.wait() == code
        assert run.child.stderr is not None
        assert command in run.child.stderr.read().decode()
        run.child.stderr.close()


def test_where_there_is_no_workspace_nothing_is_started(tmp_path: Path) -> None:
    with running(tmp_path / "none", ["touch", str(tmp_path / "started")], stderr=subprocess.DEVNULL) as run:
        assert run.wait() == 125
    assert not (tmp_path / "started").exists()


def test_a_second_agent_is_not_let_in(ws: WorkspaceLayout) -> None:
    with running(ws.root, ["sh", "-c", "echo one; sleep 1000"]) as first:
        assert first.hear() == "one"
        with running(ws.root, ["echo", "two"], "--attach-timeout", "0.2", stderr=subprocess.DEVNULL) as second:
            assert second.hear() == ""
            assert second.wait() == 125


def test_the_command_works_in_the_current_tree_by_the_name_that_stays(ws: WorkspaceLayout) -> None:
    with running(ws.root, ["sh", "-c", "echo $PWD; readlink /proc/$$/cwd"]) as run:
        assert run.hear() == str(ws.current)
        assert run.hear() == str(ws.live("initial"))
        assert run.wait() == 0


def test_the_command_ignores_and_blocks_nothing(ws: WorkspaceLayout) -> None:
    script = (
        "import signal as s\nprint(*[n for n in range(1, 32) if s.getsignal(n) == s.SIG_IGN and n not in (13, 25)])"
    )
    blocked = "import signal as s; print(*s.pthread_sigmask(s.SIG_BLOCK, ()))"
    with running(ws.root, [PYTHON, "-c", f"{script}\n{blocked}"]) as run:
        assert [run.hear(), run.hear()] == ["", ""]
        assert run.wait() == 0


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "ALRM"])
def test_a_signal_is_handed_on_to_the_command(ws: WorkspaceLayout, name: str) -> None:
    script = f"trap 'echo got; exit 3' {name}; echo ready; while :; do sleep 0.05; done"
    with running(ws.root, ["sh", "-c", script]) as run:
        assert run.hear() == "ready"
        run.child.send_signal(signal.Signals[f"SIG{name}"])
        assert run.hear() == "got"
        assert run.wait() == 3


@pytest.mark.parametrize("kind", FREEZERS)
def test_what_the_command_leaves_running_ends_with_it(ws: WorkspaceLayout, kind: FreezerKind) -> None:
    daemon = "trap '' TERM; while :; do sleep 1000; done"
    script = f'setsid sh -c "{daemon}" >/dev/null 2>&1 & setsid sleep 1000 & exit 5'
    with running(ws.root, ["sh", "-c", script], "--grace", "0.3", kind=kind) as run:
        assert run.wait() == 5
        assert run.lock_is_free()


def test_orphans_do_not_stay_as_zombies(ws: WorkspaceLayout) -> None:
    with running(ws.root, ["sh", "-c", "for i in 1 2 3; do (sleep 0.01 &) ; done; echo ready; sleep 1000"]) as run:
        assert run.hear() == "ready"
        eventually(lambda: len(run.command()) == 2, "the orphans have ended")
        below = {each.pid for each in run.everything()}
        eventually(
            lambda: [each for each in processes.everyone() if each.parent in below and each.state == "Z"] == [],
            "no zombie",
        )


class Terminal:
    """A terminal with `wvs-agent run` in its foreground, as a login shell would have it."""

    def __init__(self, root: Path, script: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.environ[FREEZER_VARIABLE] = FreezerKind.SIGNALS
            arguments = ["run", "--workspace", str(root), "--", "sh", "-c", script]
            os.execv(PYTHON, [PYTHON, "-m", "wvs_agent", *arguments])
        self.seen = ""

    def shows(self, text: str) -> None:
        def look() -> bool:
            if text in self.seen:
                return True
            self.seen += os.read(self.fd, 4096).decode()
            return text in self.seen

        eventually(look, f"the terminal shows {text}")

    def types(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def ends(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for each in opened:
        os.close(each.fd)


def test_the_command_reads_the_terminal(ws: WorkspaceLayout, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(ws.root, "echo ask; read word; echo heard $word"))
    terminals[0].shows("ask")
    terminals[0].types("hello\n")
    terminals[0].shows("heard hello")
    assert terminals[0].ends() == 0


def test_control_c_reaches_the_command_as_from_a_shell(ws: WorkspaceLayout, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(ws.root, "echo ready; exec sleep 1000"))
    terminals[0].shows("ready")
    terminals[0].types("\x03")
    assert terminals[0].ends() == 128 + signal.SIGINT


def ask(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, "-m", "wvs_agent", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_names_every_way_of_calling_it_and_a_wrong_one_is_refused(ws: WorkspaceLayout) -> None:
    said = ask("--help")
    assert said.returncode == 0
    assert all(word in said.stdout for word in ("run", "status", "conformance"))
    assert ask("--version").returncode == 0
    assert ask("run", "--workspace", ws.root, "--").returncode == 2
    assert ask("run", "--workspace", ws.root, "--signal", "NONE", "--", "true").returncode == 2
    assert ask("run", "--workspace", ws.root, "--on-switch", "maybe", "--", "true").returncode == 2


def test_status_says_who_is_attached(ws: WorkspaceLayout) -> None:
    nobody = ask("status", "--workspace", ws.root)
    assert nobody.returncode == 1
    assert "attached: no" in nobody.stdout
    with running(ws.root, ["sh", "-c", "echo ready; sleep 1000"]) as run:
        assert run.hear() == "ready"
        somebody = ask("status", "--workspace", ws.root, "--json")
        assert somebody.returncode == 0
        assert f'"{run.child.pid} ' in somebody.stdout
        assert '"current": "live/initial"' in somebody.stdout
        assert '"frozen": false' in somebody.stdout
    assert ask("status", "--workspace", ws.root / "live").returncode == 2


def test_each_run_is_found_by_its_token_alone(ws: WorkspaceLayout) -> None:
    """The tests' own look at a run: it must see what it is asked about, or they could not fail."""
    with running(ws.root, ["sh", "-c", "setsid sleep 1000 & echo ready; wait"]) as run:
        assert run.hear() == "ready"
        eventually(lambda: len(run.command()) == 2, "both of the command")
        assert isinstance(run, Running)
        assert len(run.everything()) == 4
