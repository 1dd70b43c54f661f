"""A small project behind patauth. The store is local:./patauth-data, or what PATAUTH_STORE_URL says.

    python manage.py migrate
    python manage.py shell -c "from django.contrib.auth.models import User; User.objects.create_user('alice')"
    python manage.py patauth pat create --owner-id alice --name try --scope reports:read --expires-in 1d
    python manage.py runserver --noreload
    curl -H "Authorization: Bearer $PAT_TOKEN" http://127.0.0.1:8000/reports

It needs pip install 'patauth[django,local]' djangorestframework.
"""

import os
import secrets

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secrets.token_urlsafe()  # a project has its own
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "patauth.django",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "patauth.django.PatAuthMiddleware",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_DATABASE", "db.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["patauth.django.rest.PatAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}

PATAUTH_STORE_URL = os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")
PATAUTH_PUBLIC = ["/healthz"]
PATAUTH_OPTIONAL = ["/"]  # session, token or nobody
PATAUTH_USER = "reports.callers.user_of"
