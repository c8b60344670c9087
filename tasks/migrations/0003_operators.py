"""Operators' permission, and indexes for lists of the few among many."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("tasks", "0002_days"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="task",
            options={"permissions": [("operate_task", "Can retry and cancel tasks")]},
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("status", "CANCELED")), fields=["-created_at", "-task_id"], name="tasks_canceled"
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("op", "init_workspace")), fields=["-created_at", "-task_id"], name="tasks_inits"
            ),
        ),
    ]
