"""Tables fit a terminal of any width: nothing wraps, no row is lost, columns are aligned, ids are whole."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wcwidth import wcswidth

from patauth import Owner, PersonalAccessToken
from patauth.cli import pat_output
from patauth.cli.context import printable
from patauth.cli.output import relative_date, relative_day
from patauth.cli.table import Column, cut, lines_of, width_of
from patauth.model.dates import DAY
from patauth.model.pat import Disabled
from tests.support.tables import each

# Letters of one and of two columns, marks that stand on others, and what must not reach a terminal.
TEXTS = st.text(
    st.one_of(
        st.characters(min_codepoint=0x20, max_codepoint=0x24F),
        st.characters(min_codepoint=0x300, max_codepoint=0x36F),  # combining
        st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF),  # Chinese and Japanese
        st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),  # Korean, and in parts:
        st.characters(min_codepoint=0x1100, max_codepoint=0x1112),
        st.characters(min_codepoint=0x1161, max_codepoint=0x1175),
        st.characters(min_codepoint=0x5D0, max_codepoint=0x5EA),  # Hebrew, from the right to the left
        st.sampled_from("\x1b\x07\x9b\r\n\t\u202e\u200b\u2028\ufeff🚀🔑ก็"),
    ),
    max_size=40,
)
MARK = "¤"  # stands where a column begins, and nowhere else
COLUMNS = (
    Column("ID", whole=True),
    Column("NAME", 10),
    Column(MARK),
    Column("OWNER", 8, leaves=1),
    Column("SCOPE", 12, leaves=2),
    Column("CREATED", leaves=3),
)


@given(
    texts=st.lists(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), max_size=6),
    width=st.integers(40, 200),
)
@example(texts=[("\x1b[2J" * 9, "日本語" * 9, "e\u0301" * 30, "\u202e" * 9)], width=40)
def test_a_table_fits_the_terminal_and_is_whole(texts: list[tuple[str, ...]], width: int) -> None:
    ids = [f"{number:032x}" for number in range(len(texts))]
    rows = [
        [
            pat_id,
            printable(name).replace(MARK, "?"),
            MARK,
            *(printable(text).replace(MARK, "?") for text in more),
        ]
        for pat_id, (name, *more) in zip(ids, texts, strict=True)
    ]
    lines = lines_of(COLUMNS, rows, width)
    assert len(lines) == 1 + len(rows), "every row has a line"
    assert all(line.isprintable() for line in lines), "nothing moves the cursor"
    assert max(wcswidth(line) for line in lines) <= width, "no line wraps"
    assert [line.partition("  ")[0] for line in lines] == ["ID", *ids], "ids can be copied"
    assert len({wcswidth(line.partition(MARK)[0]) for line in lines}) == 1, "columns are aligned"
    whole = lines_of(COLUMNS, rows)
    assert all(cell.rstrip() in line for row, line in zip(rows, whole[1:], strict=True) for cell in row)


@given(text=TEXTS, width=st.integers(1, 60))
def test_a_text_is_cut_only_if_it_is_too_wide_and_says_so(text: str, width: int) -> None:
    text = printable(text)
    assert width_of(text) == wcswidth(text)
    short = cut(text, width)
    assert wcswidth(short) <= width
    if wcswidth(text) > width:
        assert short.endswith("…")
        assert text.startswith(short[:-1])
        assert wcswidth(short) >= width - 1, "a wide character may leave one column free"
    else:
        assert short == text


def test_columns_that_can_go_do_so_before_others_are_cut_below_their_least() -> None:
    row = ["a" * 32, "n" * 20, "o" * 20, "s" * 20]
    columns = (COLUMNS[0], COLUMNS[1], COLUMNS[3], COLUMNS[4])
    heads = {width: lines_of(columns, [row], width)[0].split() for width in (112, 68, 67, 53, 40, 30)}
    assert heads == {
        112: ["ID", "NAME", "OWNER", "SCOPE"],
        68: ["ID", "NAME", "OWNER", "SCOPE"],
        67: ["ID", "NAME", "OWNER"],
        53: ["ID", "NAME"],
        40: ["ID", "NAME"],
        30: ["ID", "…"],
    }
    assert lines_of(columns, [row], 68)[1] == f"{'a' * 32}  {'n' * 9}…  {'o' * 7}…  {'s' * 11}…"


def test_columns_that_are_cut_share_what_room_there_is() -> None:
    row = ["n" * 30, "o" * 4, "s" * 30]
    columns = [Column("NAME", 10), Column("OWNER", 8), Column("SCOPE", 12)]
    assert lines_of(columns, [row], 50)[1] == f"{'n' * 20}…  oooo   {'s' * 19}…"
    assert lines_of(columns, [row], 30)[1] == f"{'n' * 10}…  oooo   {'s' * 9}…"
    assert lines_of(columns, [row], 10)[1] == "n…  o…  s…"


def test_a_table_that_fits_is_the_same_on_every_terminal() -> None:
    row = ["a" * 32, "ci", MARK, "alice", "a:b", "today"]
    assert lines_of(COLUMNS, [row], 200) == lines_of(COLUMNS, [row])


# -- PATs --------------------------------------------------------------------------------------------------

NOW = 20_000 * DAY + DAY // 2
PAT = PersonalAccessToken(
    id="1c9ae4ac" + "0" * 24,
    name="nightly \x1b[31mdeploy\u202e of 日本語",
    scope=("reports:read", "reports:write"),
    owner=Owner("alice"),
    tenant="default",
    created_ms=NOW - 3 * DAY,
    changed_ms=NOW,
    sequence=1,
    expires_ms=NOW + 30 * DAY,
    read_ms=NOW,
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What `pat list` prints on a terminal that is so wide."""

    def on(width: int, *pats: PersonalAccessToken, **given: object) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        pat_output.print_pats(pats, total=None, with_owner=True, **given)
        return capsys.readouterr().out.splitlines()

    return on


def without_colours(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@each("columns", [40, 60, 80, 100, 130, 200])
def test_a_pat_with_a_hostile_name_is_listed_at_every_width(shown, columns: int) -> None:
    lines = [without_colours(line) for line in shown(columns, PAT, replace(PAT, name="ci"))]
    assert len(lines) == 3
    assert max(map(wcswidth, lines)) <= columns
    assert all(line.isprintable() for line in lines)
    assert all(line.startswith(PAT.id) for line in lines[1:])


def test_eighty_columns_have_the_state_and_the_expiry(shown) -> None:
    heads, row = (without_colours(line) for line in shown(80, PAT))
    assert heads.split() == ["ID", "NAME", "OWNER", "STATE", "EXPIRES"]
    assert row.endswith("alice  active  in 30 days")


def test_the_state_is_told_by_colour_and_in_words(shown) -> None:
    states = {
        "active": (PAT, 32),
        "disabled": (replace(PAT, disabled=Disabled.OWNER), 33),
        "expired": (replace(PAT, expires_ms=NOW), 31),
        "not_yet": (replace(PAT, not_before_ms=NOW + 1), 36),
    }
    _, *lines = shown(80, *(pat for pat, _ in states.values()))
    for line, (word, (_, colour)) in zip(lines, states.items(), strict=True):
        assert f"\x1b[{colour}m{word}\x1b[0m" in line
    (_, revoked) = shown(80, replace(PAT, revoked_ms=NOW - 7_200_000), columns=["state", "revokedAt"])
    assert revoked == "\x1b[31mrevoked\x1b[0m  2 hours ago"


def test_wide_has_all_columns_and_dates_as_they_are(shown) -> None:
    heads, row = (without_colours(line) for line in shown(40, PAT, wide=True))
    assert re.split("  +", heads) == [
        "ID", "NAME", "OWNER", "STATE", "SCOPE", "CREATED", "LAST USED", "EXPIRES",
    ]  # fmt: skip
    assert "2024-10-01T12:00:00.000Z  never" in row
    assert "reports:read reports:write" in row
    assert "…" not in row


def test_columns_that_are_named_stay_in_their_order_and_are_cut(shown) -> None:
    heads, row = (without_colours(line) for line in shown(50, PAT, columns=["scope", "name", "owner", "id"]))
    assert heads == "SCO…  NAME  OWN…  ID"
    assert row == f"rep…  nig…  ali…  {PAT.id}"


def test_a_use_is_told_by_its_day_since_only_the_first_one_of_a_day_is_kept(shown) -> None:
    for used, said in ((NOW - 1, "today"), (NOW - DAY // 2, "today"), (NOW - DAY // 2 - 1, "yesterday")):
        _, row = shown(200, replace(PAT, last_used_ms=used), columns=["lastUsed"])
        assert row == said


# -- dates -------------------------------------------------------------------------------------------------


@each(
    "apart, said",
    [
        (0, "now"),
        (1_999, "now"),
        (2_000, "in 2 seconds"),
        (90_000, "in 90 seconds"),
        (120_000, "in 2 minutes"),
        (5_399_999, "in 90 minutes"),
        (7_200_000, "in 2 hours"),
        (2 * DAY - 1, "in 48 hours"),
        (2 * DAY, "in 2 days"),
        (30 * DAY - 1, "in 30 days"),
        (60 * DAY, "in 2 months"),
        (730 * DAY, "in 2 years"),
        (-2_000, "2 seconds ago"),
        (-3 * DAY, "3 days ago"),
        (-400 * DAY, "13 months ago"),
    ],
)
def test_a_date_is_told_as_people_say_it(apart: int, said: str) -> None:
    assert relative_date(NOW + apart, NOW) == said


@each(
    "ms, said",
    [
        (NOW + DAY, "today"),
        (NOW, "today"),
        (20_000 * DAY, "today"),
        (20_000 * DAY - 1, "yesterday"),
        (19_999 * DAY - 1, "2 days ago"),
        (NOW - 90 * DAY, "3 months ago"),
    ],
)
def test_a_day_is_told_as_people_say_it(ms: int, said: str) -> None:
    assert relative_day(ms, NOW) == said
