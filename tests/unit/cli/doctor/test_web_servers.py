"""What `patauth doctor` finds in the configurations of Apache, nginx and uWSGI."""

from __future__ import annotations

from pathlib import Path

from patauth import Settings
from patauth.cli.doctor.web_servers import judge_web_servers
from tests.support.documents import blocks
from tests.support.paths import EXAMPLES
from tests.support.receivers import SECRET
from tests.support.tables import each

PLAIN = Settings.of(store_url="memory:")
WEBHOOK = Settings.of(store_url="memory:", events="webhook:http://127.0.0.1:1/", webhook_secret=SECRET)
SENTINEL = Settings.of(store_url="redis+sentinel://127.0.0.1:1/main")

ALIAS = "WSGIScriptAlias / /srv/app.wsgi\n"
ON, OFF = "WSGIPassAuthorization On\n", "WSGIPassAuthorization Off\n"
PASS = "server { location / { proxy_pass http://127.0.0.1:8000; } }\n"
FORKS = "[uwsgi]\nmaster = true\nprocesses = 2\n"


def host(lines: str) -> str:
    return f"<VirtualHost *:80>\n{lines}</VirtualHost>\n"


def levels(folder: Path, *given: Path, settings: Settings = PLAIN, **environ: str) -> list[str]:
    found = judge_web_servers(environ, folder, given, settings)
    return [f"{finding.level} {finding.check}" for finding in found]


@each(
    "name, text, expected",
    [
        ("apache.conf", ALIAS, ["warning mod_wsgi"]),
        ("apache.conf", ALIAS + "# WSGIPassAuthorization On\n", ["warning mod_wsgi"]),
        ("apache.conf", ALIAS + "WSGIPassAuthorization Off\n", ["problem mod_wsgi"]),
        ("apache.conf", ALIAS + "  wsgipassauthorization ON\n", ["ok mod_wsgi"]),
        (
            "apache.conf",
            ALIAS + "WSGIPassAuthorization On\n" + ALIAS + "WSGIPassAuthorization Off\n",
            ["problem mod_wsgi"],
        ),
        ("apache.conf", host(ALIAS + ON) + host(ALIAS), ["ok mod_wsgi", "warning mod_wsgi"]),
        ("apache.conf", host(ALIAS + ON) + host(ALIAS + OFF), ["ok mod_wsgi", "problem mod_wsgi"]),
        ("apache.conf", ON + host(ALIAS) + host(ALIAS + OFF), ["ok mod_wsgi", "problem mod_wsgi"]),
        ("apache.conf", OFF + host(ALIAS) + host("Redirect / https://app.example/\n"), ["problem mod_wsgi"]),
        ("apache.conf", "Listen 80\n", []),
        ("nginx.conf", f"http {{ {PASS} }}", ["ok nginx"]),
        ("nginx.conf", f"http {{ include mime.types; {PASS} }}", ["ok nginx"]),
        (
            "nginx.conf",
            "http { server { location / { include proxy_params; proxy_pass x; } } }",
            ["ok nginx"],
        ),
        ("nginx.conf", f"http {{ log_format x '{{ \\' }}'; {PASS} }} # include x;", ["ok nginx"]),
        ("nginx.conf", "http { server { location /${a} { uwsgi_pass x; } include x; } }", ["warning nginx"]),
        ("nginx.conf", f"http {{ {PASS} include conf.d/*.conf; }}", ["warning nginx"]),
        ("nginx.conf", PASS, ["warning nginx"]),
        ("nginx.conf", f"# configuration file of the app\n{PASS}", ["warning nginx"]),
        (
            "nginx.conf",
            f"# configuration file /a:\nhttp {{ include *; }}\n# configuration file /b:\n{PASS}",
            ["ok nginx"],
        ),
        ("nginx.conf", "underscores_in_headers on;\n" + PASS, ["problem nginx"]),
        ("nginx.conf", 'http { underscores_in_headers\n"on" ; ' + PASS + "}", ["problem nginx"]),
        ("nginx.conf", "# underscores_in_headers on;\n" + PASS, ["warning nginx"]),
        ("nginx.conf", "http { underscores_in_headers on; include sites-enabled/*; }\n", ["problem nginx"]),
        ("nginx.conf", "http { include sites-enabled/*; }\n", []),
        ("uwsgi.ini", "[uwsgi]\n", ["warning uwsgi"]),
        ("uwsgi.ini", "[uwsgi]\nenable-threads = true\n", ["ok uwsgi"]),
        ("uwsgi.ini", "[uwsgi]\nthreads = 4\n", ["ok uwsgi"]),
        ("uwsgi.ini", "[uwsgi]\nenable-threads = false\n", ["warning uwsgi"]),
        ("uwsgi.ini", "[uwsgi]\n; threads = 4\n", ["warning uwsgi"]),
        ("uwsgi.ini", "[uwsgi]\n[other]\nthreads = 4\n", ["warning uwsgi"]),
        ("uwsgi.ini", FORKS + "threads = 4\n", ["ok uwsgi", "warning uwsgi"]),
        ("uwsgi.ini", FORKS + "threads = 4\nlazy-apps = true\n", ["ok uwsgi"]),
        ("uwsgi.ini", FORKS + "threads = 4\npy-call-osafterfork = true\n", ["ok uwsgi"]),
    ],
)
def test_what_a_file_means_for_patauth_is_found(
    tmp_path: Path, name: str, text: str, expected: list[str]
) -> None:
    """In the working directory, and where it is given by whatever name."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    (folder / name).write_text(text)
    assert levels(folder) == expected
    (folder / name).rename(folder / "site")
    assert levels(folder) == []
    assert levels(folder, folder / "site") == expected


def test_uwsgi_without_threads_is_a_problem_where_patauth_works_in_threads(tmp_path: Path) -> None:
    for settings, level in ((PLAIN, "warning"), (WEBHOOK, "problem"), (SENTINEL, "problem")):
        assert levels(tmp_path, settings=settings, UWSGI_HTTP_SOCKET=":8000") == [f"{level} uwsgi"]
        assert levels(tmp_path, settings=settings, UWSGI_ENABLE_THREADS="1") == ["ok uwsgi"]


def test_the_environment_adds_to_a_file_of_uwsgi(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\n")
    assert levels(tmp_path, UWSGI_THREADS="4") == ["ok uwsgi"]


def test_the_environment_counts_whatever_other_files_are_given(tmp_path: Path) -> None:
    (tmp_path / "site").write_text(ALIAS + ON)
    found = levels(tmp_path, tmp_path / "site", UWSGI_HTTP_SOCKET=":8000")
    assert found == ["ok mod_wsgi", "warning uwsgi"]


def test_a_file_that_cannot_be_read_is_a_problem_where_it_is_given(tmp_path: Path) -> None:
    assert levels(tmp_path, tmp_path / "nowhere.conf") == ["problem files"]
    assert levels(tmp_path) == []


def test_the_examples_and_the_pages_are_right(tmp_path: Path) -> None:
    for page, language in (("apache", "apache"), ("nginx", "nginx"), ("uwsgi", "ini")):
        (block, *_) = blocks(f"docs/how-to/{page}.md", language)
        (tmp_path / page).write_text(block)
    given = [EXAMPLES / "nginx.conf", *sorted(tmp_path.iterdir())]
    found = levels(tmp_path, *given, settings=WEBHOOK)
    assert found == ["ok nginx", "ok mod_wsgi", "warning nginx", "ok uwsgi"]  # the page's nginx is a part
