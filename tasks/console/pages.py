"""Lists of the admin: newest first, by keyset, never counted, so a page costs the same in a table of a million rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR
from django.db.models import BigAutoField, Model, Q, QuerySet
from django.http import HttpRequest

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.views import ChangeList

_BETWEEN: Final = "~"


@dataclass(frozen=True, slots=True)
class Pages:
    """Stands where a paginator would: it says which template links to the other pages."""

    per_page: int
    template_name: str = "console/pagination.html"


class KeysetChangeList(ChangeList):
    """One page of the rows, after the row that `p` names; `p` goes where filter or search change, as Django sees to.

    `model_admin.keyset` is the column of time that orders the list, before the primary key, or None for the primary
    key alone.
    """

    older_url: str | None
    newest_url: str | None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The filtered rows, in order. Raises IncorrectLookupParameters for what PostgreSQL cannot hold."""
        if any("\x00" in value for values in self.filter_params.values() for value in values):
            raise IncorrectLookupParameters
        return super().get_queryset(request, exclude_parameters)

    def get_results(self, request: HttpRequest) -> None:
        """One row more than a page tells whether there is another page."""
        time: str | None = getattr(self.model_admin, "keyset", None)
        cursor = request.GET.get(PAGE_VAR, "")
        rows = self.queryset.filter(_after(self.model, cursor, time)) if cursor else self.queryset
        found = list(rows[: self.list_per_page + 1])
        self.result_list = shown = found[: self.list_per_page]
        self.older_url = self._link(_cursor(shown[-1], time)) if len(found) > len(shown) else None
        self.newest_url = self._link(None) if cursor else None
        self.paginator = Pages(self.list_per_page)
        # Equal: then the page's head does not take one page's rows for all that were found.
        self.result_count = self.full_result_count = len(shown)
        self.show_full_result_count, self.show_admin_actions = False, bool(shown)
        self.can_show_all = self.multi_page = False

    def _link(self, cursor: str | None) -> str:
        return self.get_query_string({PAGE_VAR: cursor}) if cursor else self.get_query_string(remove=[PAGE_VAR])


def order_of(model: type[Model], time: str | None) -> tuple[str, ...]:
    """Newest first."""
    return tuple(f"-{name}" for name in (time, model._meta.pk.name) if name)


def _cursor(row: Model, time: str | None) -> str:
    return f"{getattr(row, time).isoformat()}{_BETWEEN}{row.pk}" if time else str(row.pk)


def _after(model: type[Model], cursor: str, time: str | None) -> Q:
    """Rows behind the cursor. `<=` comes first: the index is entered there, whatever ties."""
    moment_text, _, key_text = cursor.partition(_BETWEEN) if time else ("", "", cursor)
    try:
        key = int(key_text) if isinstance(model._meta.pk, BigAutoField) else key_text
        moment = datetime.fromisoformat(moment_text) if time else None
    except ValueError as error:
        raise IncorrectLookupParameters from error
    if "\x00" in key_text or not key_text or (isinstance(key, int) and not 0 <= key < 2**63):
        raise IncorrectLookupParameters
    if time is None or moment is None:
        return Q(pk__lt=key)
    if moment.tzinfo is None:
        raise IncorrectLookupParameters
    return Q(**{f"{time}__lte": moment}) & ~Q(**{time: moment, "pk__gte": key})
