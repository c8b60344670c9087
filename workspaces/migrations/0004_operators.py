"""Operators' permission."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("workspaces", "0003_order"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="workspace",
            options={
                "permissions": [
                    ("operate_workspace", "Can initialise again, disable, enable, sweep and detach the agent")
                ]
            },
        ),
    ]
