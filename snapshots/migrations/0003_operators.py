"""Operators' permission, and the two groups of the admin: who sees, and who acts (SPEC §9)."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

VIEWERS = "WVS viewers"
OPERATORS = "WVS operators"

_SEEN = (
    ("workspaces", "workspace"),
    ("workspaces", "order"),
    ("snapshots", "snapshot"),
    ("tasks", "task"),
    ("tasks", "auditevent"),
)
# Named here as the models name them: permissions are made after all migrations, which is too late for the groups.
_OPERATED = (
    ("workspaces", "workspace", "Can initialise again, disable, enable, sweep and detach the agent"),
    ("snapshots", "snapshot", "Can drop snapshots and switch to them"),
    ("tasks", "task", "Can retry and cancel tasks"),
)


def make_groups(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor | None = None) -> None:
    """Both groups with their permissions. Repeatable; who is in them, and what else they may, is left alone."""
    group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    content_type = apps.get_model("contenttypes", "ContentType")

    def allow(app: str, model: str, verb: str, name: str):
        of, _ = content_type.objects.get_or_create(app_label=app, model=model)
        found, _ = permission.objects.get_or_create(
            content_type=of, codename=f"{verb}_{model}", defaults={"name": name}
        )
        return found

    views = [allow(app, model, "view", f"Can view {apps.get_model(app, model)._meta.verbose_name}") for app, model in _SEEN]
    operates = [allow(app, model, "operate", name) for app, model, name in _OPERATED]
    viewers, _ = group.objects.get_or_create(name=VIEWERS)
    viewers.permissions.add(*views)
    operators, _ = group.objects.get_or_create(name=OPERATORS)
    operators.permissions.add(*views, *operates)


class Migration(migrations.Migration):

    dependencies = [
        ("snapshots", "0002_days"),
        ("tasks", "0003_operators"),
        ("workspaces", "0004_operators"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="snapshot",
            options={"permissions": [("operate_snapshot", "Can drop snapshots and switch to them")]},
        ),
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
