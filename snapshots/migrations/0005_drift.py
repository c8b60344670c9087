from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0004_dropped"),
    ]

    operations = [
        migrations.CreateModel(
            name="DriftCount",
            fields=[
                ("kind", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("count", models.BigIntegerField()),
                ("looked_at", models.DateTimeField()),
            ],
            options={
                "db_table": "drift_counts",
            },
        ),
    ]
