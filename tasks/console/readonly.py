"""What every list and page of the admin shares: rows are looked at, never changed by hand (SPEC §9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.admin import ShowFacets, SimpleListFilter
from django.contrib.admin.utils import flatten_fieldsets
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from tasks.console.pages import KeysetChangeList, order_of
from tasks.console.shown import Table

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
else:
    from unfold.admin import ModelAdmin


class Heading:
    """A row as the head of its page names it: the head capitalises, which would make another id of an id."""

    def __init__(self, row: Model) -> None:
        self._meta, self.pk = row._meta, row.pk

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[type-arg]
    """A list by keyset with an exact search, and a page of fields and tables. `view_*` is all it asks for.

    A page of a list costs a fixed number of statements, whatever it shows, and none counts rows.
    """

    keyset: ClassVar[str | None] = "created_at"
    """The column of time that orders the list; None where the primary key alone does."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    list_disable_select_all = True
    list_fullwidth = True
    change_form_outer_after_template = "console/tables.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        """By keyset."""
        return KeysetChangeList

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first: the one order that an index has."""
        return order_of(self.model, self.keyset)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what a filter of the list offers: any other column could mean a scan of the whole table."""
        offered = (getattr(item, "parameter_name", item) for item in self.get_list_filter(request))
        return lookup.removesuffix("__exact") in offered

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By `find`, never by LIKE '%…%'."""
        term = search_term.strip()
        return (self.find(queryset, term) if term else queryset), False

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that the term names, by an index."""
        raise NotImplementedError

    def tables(self, request: HttpRequest, row: Any) -> Sequence[Table]:
        """What the page shows below the fields."""
        return ()

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page. Its tables are read only once somebody may see it."""
        row = self.get_object(request, object_id) if object_id and self.has_view_permission(request) else None
        shown: dict[str, Any] = {}
        if row is not None:
            shown = {"tables": self.tables(request, row), "title": str(row), "subtitle": None, "original": Heading(row)}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any] | tuple[Any, ...]:
        """All of them."""
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False


class GivenFilter(SimpleListFilter):
    """A filter by a value that a link gives: shown, with the way out, only while it is set. `column` has an index."""

    column: ClassVar[str]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The value that is given."""
        value = self.value()
        return [(value, value)] if value else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with the value."""
        return queryset.filter(**{self.column: value}) if (value := self.value()) else queryset


class WsidFilter(GivenFilter):
    """By workspace, of rows that have a foreign key to one."""

    title = parameter_name = "wsid"
    column = "workspace_id"
