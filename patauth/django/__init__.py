"""patauth for Django: a middleware in Django's own stack, system checks and `manage.py patauth`.

    INSTALLED_APPS = [..., "patauth.django"]
    MIDDLEWARE = [..., "patauth.django.PatAuthMiddleware"]     # after AuthenticationMiddleware
    PATAUTH_STORE_URL = "local:./patauth-data"
    PATAUTH_PUBLIC = ["/healthz", "/static/*"]

    @require_scope("reports:read")
    def reports(request):
        return JsonResponse({"hello": request.principal.subject.name})

Django's settings have:

    PATAUTH_PROTECT, PATAUTH_PUBLIC, PATAUTH_OPTIONAL,
    PATAUTH_REQUIRE, PATAUTH_CORS, PATAUTH_ON_REFUSAL  arguments of `patauth.PatAuthMiddleware`
    PATAUTH_<NAME>                                     each setting of `patauth.Settings`
    PATAUTH_USER                                       a function of the `Principal` that returns Django's
                                                       user, or None, or its name, "package.module.function"
    PATAUTH_AUTHORITY                                  an `Authority`, in place of one with these settings

What they do not have comes from the environment (`PATAUTH_<NAME>`). `identify`, `reauthenticate`, `require`
and `on_refusal` get Django's `HttpRequest` in place of an environ.
"""

from ..wsgi.frameworks import of_extra

with of_extra("django"):
    from .configuration import authority
    from .middleware import PatAuthMiddleware
    from .requests import principal_of
    from .require import require_scope

__all__ = ["PatAuthMiddleware", "authority", "principal_of", "require_scope"]
