"""Django's settings, from `config` (SPEC §11). With urls and wsgi the only file that knows every app."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.templatetags.static import static
from psycopg.conninfo import conninfo_to_dict

from observation.logs import configure_logging
from wvs_project.config import get_config
from wvs_project.http.converters import SCHEMAS as PATH_SCHEMAS

BASE_DIR = Path(__file__).resolve().parent.parent
CONFIG = get_config()
configure_logging(CONFIG.log_level, CONFIG.log_format, CONFIG.secrets)
LOGGING_CONFIG = None

SECRET_KEY = CONFIG.secret_key
DEBUG = False
ALLOWED_HOSTS = list(CONFIG.allowed_hosts)

INSTALLED_APPS = [
    "unfold",  # before the admin, whose templates it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "pgtrigger",
    "django_dramatiq",
    "csp",
    "axes",
    "wvs_project.http.apps.HttpConfig",
    "tasks.apps.TasksConfig",
    "workspaces.apps.WorkspacesConfig",
    "snapshots.apps.SnapshotsConfig",
]
# The app configures the broker; its table of messages is not used, so it is not made.
MIGRATION_MODULES = {"django_dramatiq": None}

MIDDLEWARE = [
    "wvs_project.http.metrics.MetricsMiddleware",
    "wvs_project.http.middleware.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it answers in place of a login that is refused
]
APPEND_SLASH = False
ROOT_URLCONF = "wvs_project.urls"
WSGI_APPLICATION = "wvs_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # The first page of the admin is ours: found before those of the apps, unfold's among them.
        "DIRS": [BASE_DIR / "snapshots" / "console" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

_DSN = conninfo_to_dict(CONFIG.db_dsn)
SESSION = {
    "search_path": "wvs",
    # Nobody waits for a workspace row, or holds it in a forgotten transaction, for longer than this.
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "60s",
    # Said here, since the server may be somebody else's: a client that is gone loses its locks in 25 s.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "2s",
}
DATABASES = {
    "default": {
        # Counts and times statements for /metrics; about a microsecond each.
        "ENGINE": "django_prometheus.db.backends.postgresql",
        "HOST": _DSN.pop("host", ""),
        "PORT": _DSN.pop("port", ""),
        "NAME": _DSN.pop("dbname", "wvs"),
        "USER": _DSN.pop("user", ""),
        "PASSWORD": _DSN.pop("password", ""),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,  # of pooled connections, when they are taken
        "OPTIONS": {
            **_DSN,
            "application_name": "wvs",
            "options": " ".join(f"-c {name}={value}" for name, value in SESSION.items()),
            # A peer that is gone without a word is noticed in about 11 s: before the server, which takes 25 s, lets
            # somebody else have its locks.
            "connect_timeout": 5,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10000,
            "pool": {
                "min_size": 1,
                # Waiters hold no connection, and more at once than this would only queue for the interpreter.
                "max_size": max(min(CONFIG.api_threads // 2, 24), CONFIG.worker_threads) + 4,
                "timeout": 5,
                "max_idle": 60,
            },
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DRAMATIQ_BROKER = {
    "BROKER": "tasks.doorbell.DoorbellBroker",
    "OPTIONS": {"url": CONFIG.redis_url, "namespace": "wvs"},
    # No retries, results, time limits or records of messages: the tasks table is all of that (SPEC §6).
    "MIDDLEWARE": ["dramatiq.middleware.AgeLimit", "django_dramatiq.middleware.DbConnectionsMiddleware"],
}
DRAMATIQ_AUTODISCOVER_MODULES = ["actors"]

# Logins are the admin's alone (docs/adr/0016): its cookies are sent to no other path, so the API never sees one.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "wvs_session", "wvs_csrf"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/admin/"
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = CONFIG.has_secure_cookies
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CONFIG.behind_tls else None
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if CONFIG.behind_tls else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Five failures of one name from one address, and both wait for a quarter of an hour. Not the name alone: then anybody
# could lock an operator out.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "wvs_project.http.logins.address_of"
AXES_LOCKOUT_CALLABLE = "wvs_project.http.logins.locked_out"
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

# All comes from ourselves, no script is inline, and nobody frames us. Alpine, which the admin uses, evaluates
# expressions of its templates; inline styles come from there, from its charts, and from the API's browsable page.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
STATIC_URL = "static/"
# Static files come straight from the packages: nothing to collect, nothing from elsewhere.
WHITENOISE_USE_FINDERS = True

UNFOLD = {
    "SITE_TITLE": "WVS",
    "SITE_HEADER": "WVS",
    "SITE_SUBHEADER": "Workspace Versioning Service",
    "SITE_SYMBOL": "account_tree",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("console/icon.svg")},
    ],
    "SITE_URL": None,
    "DASHBOARD_CALLBACK": "snapshots.console.dashboard.dashboard",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"show_search": True, "show_all_applications": False},
}

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "wvs_project.http.negotiation.AlwaysJson",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "wvs_project.http.exceptions.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "WVS, the Workspace Versioning Service",
    "DESCRIPTION": (
        "Snapshot, roll back and drop the working directories of AI agents. Writes that take time answer 202 with a "
        "task; follow it with `GET /v1/tasks/{task_id}?wait=30`."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "TAGS": [
        {"name": "workspaces", "description": "Working directories of agents."},
        {"name": "snapshots", "description": "Read-only copies of a workspace's tree."},
        {"name": "current", "description": "Which tree the agent sees: roll back and forward."},
        {"name": "tasks", "description": "What becomes of writes that take time."},
        {"name": "audit", "description": "Who did what, when."},
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "PATH_CONVERTER_OVERRIDES": PATH_SCHEMAS,
    "ENUM_SUFFIX": "",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "TaskStatus": "tasks.states.Status",
        "TaskOp": "tasks.models.Op",
        "WorkspaceState": "workspaces.states.WorkspaceState",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "wvs_project.http.schema.complete",
    ],
}
