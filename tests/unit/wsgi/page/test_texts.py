"""The words of the page: whole in each language, and in the language that a person reads."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from patauth import ConfigurationError
from patauth.wsgi import page
from patauth.wsgi.page.texts import DEFAULT, Languages, read
from tests.support.tables import each

PAGE = Path(page.__file__).parent
FILES = sorted((PAGE / "texts").glob("*.toml"))
ENGLISH = read(PAGE / "texts" / "en.toml")


def placeholders(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


def test_there_are_six_languages() -> None:
    assert {file.stem for file in FILES} == {"en", "de", "fr", "es", "pt-BR", "ja"}


@each("file", FILES)
def test_no_text_is_missing_or_too_much_and_each_has_the_same_places_for_values(file: Path) -> None:
    words = read(file)
    assert set(words) == set(ENGLISH)
    assert {key: placeholders(text) for key, text in words.items()} == {
        key: placeholders(text) for key, text in ENGLISH.items()
    }
    assert [key for key, text in words.items() if not text.strip()] == []


@each("file", [file for file in FILES if file.stem != DEFAULT])
def test_nothing_is_left_in_english(file: Path) -> None:
    same = {
        key for key, text in read(file).items() if text == ENGLISH[key] and re.search("[A-Za-z]{3}", text)
    }
    words_that_are_the_same = {"utc", "reveal.token", "column.name", "list.range", "form.name", "action.edit"}
    words_that_are_the_same |= {key for key in ENGLISH if key.startswith(("duration.", "form.in_"))}
    assert {key for key in same if " " in ENGLISH[key]} - words_that_are_the_same == set()


def test_each_text_has_a_use() -> None:
    sources = "".join(file.read_text("utf-8") for file in PAGE.rglob("*.py"))
    sources += "".join(file.read_text("utf-8") for file in PAGE.rglob("*.html"))
    sources += "".join(
        f'"column.{name}"' for name in ("name", "scope", "last_used", "expires", "state", "actions")
    )
    composed = ("show.", "sort.", "state.", "action.", "error.", "rotate.", "ask.", "done.", "duration.")
    unused = [
        key
        for key in ENGLISH
        if f'"{key}"' not in sources and f"'{key}'" not in sources and not key.startswith(composed)
    ]
    assert [key for key in unused if key.partition(".")[0] not in ("revoke", "disable", "enable")] == [
        "form.in_hours", "form.in_minutes", "form.in_seconds",
    ]  # fmt: skip


class TestChoice:
    LANGUAGES = Languages([PAGE / "texts"])

    @pytest.mark.parametrize(
        ("wanted", "accepted", "locale"),
        [
            ("", None, "en"),
            ("", "de-AT,de;q=0.9,en;q=0.8", "de"),
            ("", "pt-PT", "pt-BR"),
            ("", "nl, ja;q=0.5", "ja"),
            ("", "en-GB", "en"),
            ("fr", "de", "fr"),
            ("PT-br", "de", "pt-BR"),
            ("xx", "de", "de"),
            ("../en", None, "en"),
        ],
    )
    def test_what_was_chosen_by_hand_comes_before_what_the_browser_asks_for(
        self, wanted: str, accepted: str | None, locale: str
    ) -> None:
        assert self.LANGUAGES.of(wanted, accepted).locale == locale

    def test_an_application_adds_languages_and_replaces_single_words(self, tmp_path: Path) -> None:
        (tmp_path / "ar.toml").write_text('title = "رموز"\n', "utf-8")
        (tmp_path / "de.toml").write_text('title = "Schlüssel"\n', "utf-8")
        languages = Languages([PAGE / "texts", tmp_path])
        arabic, german = languages.of("", "ar-EG"), languages.of("de", None)
        assert (arabic("title"), arabic.direction, arabic("skip")) == ("رموز", "rtl", ENGLISH["skip"])
        assert (german("title"), german.direction) == ("Schlüssel", "ltr")
        assert german("skip") != ENGLISH["skip"]

    def test_a_text_that_the_page_could_not_use_is_said_at_the_start(self, tmp_path: Path) -> None:
        for text, said in (
            ('tilte = "x"', "the page has no text tilte"),
            ("list = 1", "the page has no text list"),
            ('[list]\nused = "{use} of {most}"', r"in list.used, the page puts in \{most\} \{used\}; "),
            ('[list]\nused = "{used} used"', r"in list.used, the page puts in \{most\} \{used\}; "),
            ('title = "{name}"', "in title, the page puts in nothing; "),
            ('signed_in = "{name.owner}"', r"in signed_in, the page puts in \{name\}; "),
            ('signed_in = "{name!r}"', "in signed_in"),
            ('signed_in = "{name:>9}"', "in signed_in"),
            ('signed_in = "{name"', "in signed_in"),
            ('signed_in = "{}"', "in signed_in"),
            ("title = 1", "in title"),
            ("title = x", r"nl\.toml cannot be read"),
        ):
            (tmp_path / "nl.toml").write_text(text + "\n", "utf-8")
            with pytest.raises(ConfigurationError, match=said):
                Languages([PAGE / "texts", tmp_path])
        (tmp_path / "nl.toml").write_text('signed_in = "{{name}} {name}"\n', "utf-8")
        assert Languages([PAGE / "texts", tmp_path]).of("nl", None)("signed_in", name="A") == "{name} A"

    def test_a_file_is_named_by_the_tag_of_its_language(self, tmp_path: Path) -> None:
        for number, (name, said) in enumerate((
            ("pt_BR.toml", "pt_BR is no tag of a language"),
            ("d.toml", "d is no tag"),
            ("nl-.toml", "nl- is no tag"),
            ("nederlands.toml", "nederlands is no tag"),
            ("nl.NL.toml", "nl.NL is no tag"),
            ("pt-br.toml", r"the language is pt-BR; name it pt-BR\.toml"),
            ("DE.toml", "the language is de"),
        )):  # fmt: skip
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / name).write_text('title = "x"\n', "utf-8")
            with pytest.raises(ConfigurationError, match=f"page_folder: .*{said}"):
                Languages([PAGE / "texts", folder])
        for tag in ("nl", "zh-Hant-TW", "es-419", "sr-Latn", "de-CH-1996", "en-x-pirate", "ar-XB"):
            (tmp_path / f"{tag}.toml").write_text('title = "x"\n', "utf-8")
        assert "es-419" in Languages([PAGE / "texts", tmp_path]).locales

    def test_a_folder_named_as_a_language_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "nl.toml").mkdir()
        with pytest.raises(ConfigurationError, match=r"page_folder: .*nl\.toml cannot be read"):
            Languages([PAGE / "texts", tmp_path])

    def test_a_value_with_braces_is_no_place_for_another_value(self) -> None:
        assert self.LANGUAGES.of("en", None)("signed_in", name="{secret}") == "Signed in as {secret}"
