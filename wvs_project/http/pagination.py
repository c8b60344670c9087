"""Lists (SPEC §4): newest first, by keyset, so that a page is the same whatever is inserted or ties with its edge.

The cursor is opaque and says after which row to go on, and of which list with which filters it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from django.db.models import Model, Q, QuerySet
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from wvs_project.http.serializers import QueryInteger, StrictSerializer, Text

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
_PAGING: Final = ("limit", "cursor")

M = TypeVar("M", bound=Model)


class ListQuery(StrictSerializer):
    """The query of every list; subclasses add its filters."""

    limit = QueryInteger(least=1, most=MAX_LIMIT, default=DEFAULT_LIMIT, help_text="How many items at most.")
    cursor = Text(required=False, help_text="`next_cursor` of the page before, with the same filters.")


@dataclass(frozen=True, slots=True)
class Page:
    """What `page_of` writes."""

    items: list[Any]
    next_cursor: str | None


def page_of(item: type[serializers.Serializer[Any]], name: str) -> type[serializers.Serializer[Any]]:
    """The serializer of a page of `item`s."""
    fields = {
        "items": item(many=True),
        "next_cursor": serializers.CharField(allow_null=True, help_text="null on the last page."),
        "__doc__": "One page, newest first.",
    }
    return extend_schema_serializer(many=False)(type(name, (serializers.Serializer,), fields))


def filters_in(query: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a list's query that filters."""
    return {name: value for name, value in query.items() if name not in _PAGING}


def paginate(rows: QuerySet[M], *, path: str, query: Mapping[str, Any], time: str = "created_at") -> Page:
    """One page of `rows`, ordered by (`time`, primary key) descending. `query` is a validated ListQuery.

    Raises ValidationError for a cursor that is not one of this list with these filters.
    """
    scope = _scope(path, filters_in(query))
    if "cursor" in query:
        rows = rows.filter(_after(rows.model, query["cursor"], scope, time))
    limit: int = query["limit"]
    found = list(rows.order_by(f"-{time}", "-pk")[: limit + 1])
    items = found[:limit]
    more = len(found) > limit
    return Page(items, _encode(getattr(items[-1], time), items[-1].pk, scope) if more else None)


def _scope(path: str, filters: Mapping[str, Any]) -> str:
    text = json.dumps([path, filters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _encode(moment: datetime, key: object, scope: str) -> str:
    text = json.dumps([moment.astimezone(UTC).isoformat(), key, scope])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _after(model: type[Model], cursor: str, scope: str, time: str) -> Q:
    """Rows behind the cursor. `<=` comes first: the index is entered there, whatever ties."""
    try:
        text = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        moment_text, key, given_scope = json.loads(text)
        moment = datetime.fromisoformat(moment_text)
        same_kind = isinstance(key, int if model._meta.pk.get_internal_type() == "BigAutoField" else str)
        usable = same_kind and not isinstance(key, bool) and moment.tzinfo is not None and "\x00" not in str(key)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        usable = False
    if not usable:
        raise ValidationError({"cursor": ["not a cursor"]})
    if given_scope != scope:
        raise ValidationError({"cursor": ["it belongs to another list, or to other filters"]})
    return Q(**{f"{time}__lte": moment}) & ~Q(**{time: moment, "pk__gte": key})
