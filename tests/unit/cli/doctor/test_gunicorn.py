"""What `patauth doctor` finds in gunicorn's configuration."""

from __future__ import annotations

from pathlib import Path

from patauth.cli.doctor.gunicorn import judge_gunicorn
from tests.support.paths import EXAMPLES


def test_the_dangerous_defaults_of_gunicorn_are_seen(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("forwarder_headers = ['']")
    for arguments, conf, environ, expected in (
        (None, None, {}, []),
        (None, "", {}, ["warning"]),
        ("--workers 2", None, {}, ["warning"]),
        (None, "forwarder_headers = ''", {}, ["ok"]),
        ("--forwarder-headers ''", "", {}, ["ok"]),
        ("--forwarder-headers=''", "forwarder_headers = 'SCRIPT_NAME'", {}, ["ok"]),
        (None, "forwarded_allow_ips = ''", {}, ["ok"]),
        (None, "forwarded_allow_ips = '*'", {}, ["problem"]),
        ("--forwarded-allow-ips *", None, {}, ["problem"]),
        (None, "forwarded_allow_ips = '*'\nforwarder_headers = []", {}, ["warning"]),
        (None, "import os\nforwarded_allow_ips = os.environ['X']", {}, ["warning"]),
        (None, "if True:\n    forwarder_headers = ''", {}, ["warning"]),
        (None, "forwarder_headers = ''\nlimit_request_field_size = 0", {}, ["ok", "warning"]),
        (None, "", {"FORWARDED_ALLOW_IPS": "*"}, ["problem", "warning"]),
        ("-c nowhere.py", None, {}, ["warning"]),
        ("-c other.py", "", {}, ["ok"]),
        ("'unbalanced", None, {}, ["warning"]),
        (None, "not python at all", {}, []),
    ):
        path = tmp_path / "gunicorn.conf.py"
        path.unlink(missing_ok=True)
        if conf is not None:
            path.write_text(conf)
        given = environ if arguments is None else {**environ, "GUNICORN_CMD_ARGS": arguments}
        levels = [finding.level for finding in judge_gunicorn(given, tmp_path, 0)]
        assert levels == expected, (arguments, conf, environ)


def test_underscores_let_through_are_no_protection(tmp_path: Path) -> None:
    """With `header_map = "dangerous"`, any client may set SCRIPT_NAME, whatever the other two say."""
    (tmp_path / "gunicorn.conf.py").write_text(
        "forwarder_headers = ''\nforwarded_allow_ips = ''\nheader_map = 'dangerous'"
    )
    assert [finding.level for finding in judge_gunicorn({}, tmp_path, 0)] == ["problem"]


def test_the_configuration_is_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nforwarder_headers = ''"
    )
    assert [finding.level for finding in judge_gunicorn({}, tmp_path, 0)] == ["ok"]
    assert not (tmp_path / "ran").exists()


def test_the_example_configuration_is_safe() -> None:
    assert [finding.level for finding in judge_gunicorn({}, EXAMPLES, 0)] == ["ok"]
