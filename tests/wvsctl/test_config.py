"""Where wvsctl takes its settings from, and what it says of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wvsctl.running import Wvsctl
from wvsctl.config import ConfigError, Flags, OutputMode, read_settings

pytestmark = pytest.mark.rule("SPEC §9")


def test_without_a_word_it_is_this_machine_and_tables() -> None:
    settings = read_settings(Flags())
    assert (settings.api_url, settings.output, settings.timeout) == ("http://127.0.0.1:8080", OutputMode.TABLE, 600.0)
    assert settings.metrics_urls == ()


def test_a_flag_goes_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wvsctl" / "config.toml"
    file.parent.mkdir()
    file.write_text(
        'api_url = "http://file:1"\nmetrics_urls = ["http://file:2", "http://file:3"]\ntimeout = 5\noutput = "json"\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert read_settings(Flags()).api_url == "http://file:1"
    assert read_settings(Flags()).metrics_urls == ("http://file:2", "http://file:3")
    assert (read_settings(Flags()).timeout, read_settings(Flags()).output) == (5.0, OutputMode.JSON)
    monkeypatch.setenv("WVS_API_URL", "http://environment:1")
    monkeypatch.setenv("WVS_METRICS_URLS", "http://a:1, http://b:2/metrics http://a:1")
    assert read_settings(Flags()).api_url == "http://environment:1"
    assert read_settings(Flags()).metrics_urls == ("http://a:1", "http://b:2/metrics")
    assert read_settings(Flags(values={"api_url": "http://flag:1/"})).api_url == "http://flag:1"
    other = tmp_path / "other.toml"
    other.write_text('timeout = "2m"')
    assert read_settings(Flags(config=other)).timeout == 120.0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("api_url = ", "cannot be read"),
        ("colour = 1", "nobody knows colour"),
        ('timeout = "soon"', "timeout in .*'soon' is not a duration"),
        ('api_url = "wvs:8080"', "api_url in .*is not an address"),
        ('output = "xml"', "output in .*'xml' is not one of table, json"),
    ],
)
def test_a_bad_setting_is_named_with_its_file(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_settings(Flags(config=file))


@pytest.mark.parametrize(
    "line",
    [
        "workspace list --api-url nowhere",
        "task watch task-1 --timeout soon",
        "workspace list --config /does/not/exist",
        "workspace list --limit 101",
        "workspace create demo",
        "workspace",
        "no-such-command",
    ],
)
def test_wrong_usage_is_exit_code_2_and_told_on_stderr(line: str) -> None:
    ran = Wvsctl()(line)
    assert ran.code == 2
    assert ran.err or "Usage" in ran.out


def test_what_is_said_before_the_command_holds_too_and_the_command_has_the_last_word(wvsctl: Wvsctl) -> None:
    assert wvsctl("--json workspace list").json["items"] == []
    assert wvsctl("--json workspace list -o table").ok().startswith("WSID")
    assert wvsctl("--api-url nowhere workspace list").code == 2


def test_the_version_is_told() -> None:
    assert Wvsctl()("--version").ok() == "wvsctl 0.1.0\n"
