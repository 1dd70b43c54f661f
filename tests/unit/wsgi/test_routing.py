"""The table of routes, routes for GET alone, and the URL below which patauth's paths are."""

from __future__ import annotations

from typing import Any

from patauth import Settings
from patauth.errors import StoreUnavailable
from patauth.wsgi.answers import Answer, json_answer
from patauth.wsgi.routing import Routes, get_only, issuer_base


def named(name: str) -> Any:
    return lambda environ: json_answer(200, [name])


A, B, C = named("a"), named("b"), named("c")


def test_a_whole_path_comes_before_what_begins_it() -> None:
    asked = []
    routes = Routes({"/x/a": A}, {"/x/": lambda rest: asked.append(rest) or (B if rest == "b/c" else None)})
    assert routes.find("/x/a") is A
    assert routes.find("/x/b/c") is B
    assert (routes.find("/x/"), routes.find("/x"), routes.find("/y/x/b")) == (None, None, None)
    assert asked == ["b/c", ""], "and only the rest of a path below it is taken apart"


def test_joined_routes_have_those_of_all_parts() -> None:
    routes = Routes.joined([Routes({"/a": A}), Routes({"/b": B}, {"/c/": lambda rest: C})])
    assert [routes.find(path) for path in ("/a", "/b", "/c/1", "/d")] == [A, B, C, None]
    assert Routes.joined([]).find("/a") is None


def test_a_route_for_get_answers_head_and_no_other_method_and_renders_errors() -> None:
    def fail() -> Answer:
        raise StoreUnavailable

    route, broken = get_only(lambda: json_answer(200, {})), get_only(fail)
    for method in ("GET", "HEAD"):
        assert route({"REQUEST_METHOD": method}).status == 200
        assert broken({"REQUEST_METHOD": method}).status == 503
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"):
        refused = route({"REQUEST_METHOD": method})
        assert (refused.status, dict(refused.fields)["Allow"]) == (405, "GET, HEAD"), method


def test_an_issuer_is_the_mount_or_the_url_of_patauths_own_routes() -> None:
    for issuer, prefix, base in (
        ("https://a.example", "", "https://a.example"),
        ("https://a.example/app", "", "https://a.example/app"),
        ("https://a.example/app", "/auth", "https://a.example/app"),
        ("https://a.example/app/auth", "/auth", "https://a.example/app"),
        ("https://auth", "/auth", "https://auth"),  # a host is no path
    ):
        settings = Settings.of(store_url="memory:", issuer=issuer, path_prefix=prefix)
        assert issuer_base(issuer, settings) == base, (issuer, prefix)
