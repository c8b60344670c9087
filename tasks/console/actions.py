"""What operators do in the admin: asked on a page of its own, done by POST through a service, audited by their name.

An action is on the row's page as a button and on the list for what is selected. Who lacks the permission is offered
nothing and refused everything. What the service refuses is said on the screen in its words: code, message, blockers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from django.contrib import messages
from django.contrib.admin import helpers
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant

from tasks.audit import Actor
from tasks.console.readonly import ReadOnlyAdmin
from tasks.console.shown import link, task_link
from tasks.idempotency import IdempotencyToken, request_hash
from tasks.services import Accepted
from wvs_project.errors import WvsError
from wvs_project.http.context import request_id_of, traceparent_of
from wvs_project.ids import matches

AT_MOST: Final = 100
"""How many rows one press of a button may concern."""

_SHOWN: Final = 10
_NONCE: Final = r"^[A-Za-z0-9_-]{16,64}$"


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, in which request, and by which form: the form sent twice asks once."""

    actor: Actor
    request_id: str
    traceparent: str
    nonce: str

    def token(self, action: str, pk: str) -> IdempotencyToken:
        """For a service that makes a task."""
        return IdempotencyToken(
            key=f"console:{self.nonce}:{pk}",
            request_hash=request_hash(method="CONSOLE", path=f"/{action}/{pk}", body={}),
            request_id=self.request_id,
            traceparent=self.traceparent,
        )


@dataclass(frozen=True, slots=True)
class ConsoleAction:
    """One thing to do with a row. `perform` calls one service and says what became of it, or raises WvsError."""

    name: str
    label: str
    question: str
    perform: Callable[[Any, Asked], SafeString]
    fits: Callable[[Any], bool]
    """Whether the row's page offers it. The service decides; this only keeps buttons away that it would refuse."""
    icon: str = "play_arrow"
    note: str = ""
    variant: Any = field(default=ActionVariant.DEFAULT)


def task_made(write: Accepted, what: str) -> SafeString:
    """What is said of an accepted write."""
    again = " It was asked for before." if write.replayed else ""
    return format_html("{}: {}.{}", what, task_link(write.task.task_id), again)


def refusal(error: WvsError) -> SafeString:
    """A refusal as operators read it."""
    blockers = error.details.get("blockers")
    parts = [_blocker(blocker) for blocker in blockers] if isinstance(blockers, list) else []
    ways = format_html(" In the way: {}.", format_html_join("; ", "{}", ((part,) for part in parts))) if parts else ""
    return format_html("{}: {}.{}", error.code.code, error.message.rstrip("."), ways)


def _blocker(blocker: dict[str, object]) -> SafeString:
    pairs = ((name, task_link(str(value)) if name == "task_id" else value) for name, value in blocker.items())
    return format_html_join(", ", "{} {}", pairs)


def on_page(action: ConsoleAction) -> Any:
    """The action as a button of the row's page, for `actions_detail`."""

    def view(admin: OperableAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
        return admin.act_on_one(request, object_id, action)

    return _marked(view, action)


def on_list(action: ConsoleAction) -> Any:
    """The action for the selected rows of the list, for `actions`."""

    def run(admin: OperableAdmin, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        return admin.act_on_many(request, rows, action)

    return _marked(run, action)


def _marked(function: Any, action: ConsoleAction) -> Any:
    function.allowed_permissions = ("operate",)
    function.short_description = action.label
    function.url_path = action.name
    function.icon, function.variant, function.attrs = action.icon, action.variant, {}
    function.action = action
    return function


class OperableAdmin(ReadOnlyAdmin):
    """A read-only admin with actions for those who have `operate`, for example "tasks.operate_task"."""

    operate: ClassVar[str]
    actions_detail: ClassVar[Sequence[str]] = ()

    def has_operate_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """An operator acts, a viewer sees."""
        return request.user.has_perm(self.operate)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Those that fit the row as it is."""
        allowed: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        row = self.get_object(request, object_id) if allowed else None
        return [item for item in allowed if row is not None and item.method.action.fits(row)]

    def act_on_one(self, request: HttpRequest, object_id: str, action: ConsoleAction) -> HttpResponse:
        """GET asks, POST does. Raises PermissionDenied."""
        self._demand_operator(request)
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        page = self._page_of(row)
        if request.method != "POST":
            return self._ask(request, [row], action, back=page)
        self._do(request, [row], action)
        return HttpResponseRedirect(page)

    def act_on_many(self, request: HttpRequest, rows: QuerySet[Any], action: ConsoleAction) -> HttpResponse:
        """The list's form asks, the confirmation's form does. Never more than are selected one by one."""
        self._demand_operator(request)
        selected = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)[:AT_MOST]
        chosen = list(rows.filter(pk__in=selected)[:AT_MOST])
        if "confirmed" not in request.POST:
            return self._ask(request, chosen, action, back=request.get_full_path())
        self._do(request, chosen, action)
        return HttpResponseRedirect(request.get_full_path())

    def _demand_operator(self, request: HttpRequest) -> None:
        if not (self.has_view_permission(request) and self.has_operate_permission(request)):
            raise PermissionDenied

    def _page_of(self, row: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])

    def _ask(self, request: HttpRequest, rows: Sequence[Model], action: ConsoleAction, *, back: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": action.label,
            "action": action,
            "action_name": request.POST.get("action", ""),
            "rows": [(row.pk, link(self._page_of(row), str(row))) for row in rows],
            "nonce": secrets.token_urlsafe(18),
            "back": back,
        }
        return TemplateResponse(request, "console/confirm.html", context)

    def _do(self, request: HttpRequest, rows: Iterable[Model], action: ConsoleAction) -> None:
        nonce = request.POST.get("nonce", "")
        if not matches(_NONCE, nonce):
            raise BadRequest("the form of the confirmation page is incomplete")
        asked = Asked(
            actor=Actor("operator", request.user.get_username()),
            request_id=request_id_of(request),
            traceparent=traceparent_of(request),
            nonce=nonce,
        )
        done: list[SafeString] = []
        refused: list[SafeString] = []
        for row in rows:
            try:
                done.append(action.perform(row, asked))
            except WvsError as error:
                refused.append(format_html("{}: {}", row.pk, refusal(error)))
        _say(request, messages.SUCCESS, done)
        _say(request, messages.ERROR, refused)


def _say(request: HttpRequest, level: int, said: Sequence[SafeString]) -> None:
    for text in said[:_SHOWN]:
        messages.add_message(request, level, text)
    if len(said) > _SHOWN:
        messages.add_message(request, level, f"and {len(said) - _SHOWN} more")
