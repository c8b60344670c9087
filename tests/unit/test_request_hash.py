"""P2-03: the hash that says whether two requests are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.idempotency import KEY_PATTERN, canonical_json, request_hash
from wvs_project.http.parsers import parse_json
from wvs_project.ids import matches

pytestmark = pytest.mark.rule("P2-03")


def hash_of(text: str, *, method: str = "POST", path: str = "/v1/x") -> str:
    return request_hash(method=method, path=path, body=parse_json(text.encode()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":2}', '{"b":2,"a":1}'),
        ('{"a":{"x":1,"y":[{"p":1,"q":2}]}}', '{"a":{"y":[{"q":2,"p":1}],"x":1}}'),
        ('{"a":1}', '\n{\t"a" : 1 } '),
        ('{"a":"é"}', '{"a":"\\u00e9"}'),
        ('{"a":"🎉"}', '{"a":"\\ud83c\\udf89"}'),
        ('{"a":"/"}', '{"a":"\\/"}'),
        ('{"a":1}', '{"a":1.0}'),
        ('{"a":1}', '{"a":1e0}'),
        ('{"a":100}', '{"a":1E+2}'),
        ('{"a":0}', '{"a":-0.0}'),
        ('{"a":0.1}', '{"a":1e-1}'),
        ('{"a":0.10}', '{"a":0.1}'),
        ('{"a":1000000000000000000000000000000}', '{"a":1e30}'),
        ('{"a":12345678901234567890123456789012345.0}', '{"a":12345678901234567890123456789012345}'),
    ],
)
def test_the_same_request_written_otherwise_is_the_same(one: str, other: str) -> None:
    assert hash_of(one) == hash_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":1}', '{"a":true}'),
        ('{"a":0}', '{"a":false}'),
        ('{"a":null}', "{}"),
        ('{"a":1}', '{"a":1,"unknown":null}'),
        ('{"a":[1,2]}', '{"a":[2,1]}'),
        ('{"a":"é"}', '{"a":"e\\u0301"}'),
        ('{"a":"x"}', '{"a":"x "}'),
        ('{"a":"x"}', '{"A":"x"}'),
        ('{"a":0.1}', '{"a":0.10000000000000000001}'),
        ('{"a":1.00000000000000000000000000000000001}', '{"a":1}'),
        ('{"a":0.5}', '{"a":"0.5"}'),
        ('{"a":9007199254740993}', '{"a":9007199254740992}'),
        ('{"a":{"b":1}}', '{"a":{"b":1},"c":{}}'),
    ],
)
def test_another_request_is_another(one: str, other: str) -> None:
    assert hash_of(one) != hash_of(other)


def test_method_and_path_are_part_of_it() -> None:
    assert hash_of("{}", method="POST") == hash_of("{}", method="post")
    assert hash_of("{}", method="POST") != hash_of("{}", method="DELETE")
    assert hash_of("{}", path="/v1/x") != hash_of("{}", path="/v1/y")


def shuffled(value: Any) -> Any:
    """The same, its keys the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_the_order_of_keys_never_counts(body: dict[str, Any]) -> None:
    assert canonical_json(body) == canonical_json(shuffled(body))


@given(values, values)
def test_different_values_are_never_taken_for_each_other(one: Any, other: Any) -> None:
    same = repr(shuffled(shuffled(_sorted(one)))) == repr(_sorted(other))
    assert (canonical_json(one) == canonical_json(other)) == same


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("key", ["a", "x" * 255, "~!@#", "0"])
def test_a_key_is_visible_ascii(key: str) -> None:
    assert matches(KEY_PATTERN, key)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "a\n", "ü", "\x7f"])
def test_another_is_no_key(key: str) -> None:
    assert not matches(KEY_PATTERN, key)
