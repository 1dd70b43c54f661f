"""A Django project in this process: import it before anything of a project's.

Django is configured once in a process, and here. Tests override its settings by `site`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings
from django.test import override_settings

_FOLDER = tempfile.TemporaryDirectory()

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="x" * 50,
    ROOT_URLCONF="tests.support.django_views",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "rest_framework",
        "patauth.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "patauth.django.PatAuthMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    # Each thread of a test has a connection of its own.
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{_FOLDER.name}/db.sqlite3"},
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "patauth.django.rest.PatAuthentication",
            "rest_framework.authentication.SessionAuthentication",
        ]
    },
    LOGGING_CONFIG=None,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after the setup
from django.core.management import call_command  # noqa: E402

from patauth import Authority, Principal  # noqa: E402

call_command("migrate", verbosity=0)


@contextmanager
def site(authority: Authority | None, **given: Any) -> Iterator[None]:
    """Run with an Authority, settings of Django in upper case, and settings of patauth in lower case."""
    named = {name if name.isupper() else f"PATAUTH_{name.upper()}": value for name, value in given.items()}
    with override_settings(PATAUTH_AUTHORITY=authority, **named):
        yield


def person(name: str, **given: Any) -> User:
    """A user of Django's who can sign in; the same one for the same name."""
    user, made = User.objects.get_or_create(username=name, defaults=given)
    if made:
        user.set_password("secret")
        user.save()
    return user


def user_of(principal: Principal) -> User | None:
    """What PATAUTH_USER may be: the user who has the owner's id as a name."""
    return User.objects.filter(username=principal.subject.id).first()


async def user_later(principal: Principal) -> None:
    """What PATAUTH_USER may not be."""


def instead(old: str, *new: str) -> list[str]:
    """MIDDLEWARE with others in the place of one."""
    found: list[str] = []
    for path in settings.MIDDLEWARE:
        found += new if path.endswith(old) else [path]
    return found


Get = Callable[[Any], Any]
