"""Which executor serves a workspace (SPEC §7): the same for everybody, and a changed list moves few."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.routing import executor_of

WSIDS = [f"workspace-{number}" for number in range(3000)]
ADDRS = st.lists(st.integers(1, 65535).map(lambda port: f"10.0.0.1:{port}"), min_size=2, max_size=8, unique=True)


@pytest.mark.rule("SPEC-7-routing")
def test_the_answer_is_the_same_on_every_host_and_in_every_release() -> None:
    addrs = ["executor-0:7070", "executor-1:7070", "executor-2:7070"]

    assert [executor_of(wsid, addrs) for wsid in ("demo", "alpha", "beta-2")] == [
        "executor-0:7070",
        "executor-0:7070",
        "executor-1:7070",
    ]


@pytest.mark.rule("SPEC-7-routing")
@given(ADDRS, st.sampled_from(WSIDS), st.randoms())
def test_the_order_of_the_list_says_nothing(addrs: list[str], wsid: str, random: object) -> None:
    shuffled = list(addrs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert executor_of(wsid, shuffled) == executor_of(wsid, addrs)


@pytest.mark.rule("SPEC-7-routing")
@given(ADDRS)
def test_only_the_workspaces_of_one_that_left_move_and_only_to_one_that_came(addrs: list[str]) -> None:
    fewer = addrs[1:]
    for wsid in WSIDS[:200]:
        before, after = executor_of(wsid, addrs), executor_of(wsid, fewer)
        assert before in (after, addrs[0])


@pytest.mark.rule("SPEC-7-routing")
@pytest.mark.parametrize("count", [2, 3, 7])
def test_each_gets_its_share(count: int) -> None:
    addrs = [f"executor-{number}:7070" for number in range(count)]
    shares = Counter(executor_of(wsid, addrs) for wsid in WSIDS)

    assert set(shares) == set(addrs)
    assert max(shares.values()) < 1.15 * len(WSIDS) / count


def test_nobody_serves_where_nobody_is() -> None:
    with pytest.raises(ValueError, match="empty"):
        executor_of("demo", [])
