"""The page speaks two languages: every word that an alert, a record or the page itself can show is in both."""

import json
import re

import pytest

from config.provinces import PROVINCES
from gateway.pages import HERE, LANGUAGES, STATIC, WORDS
from schemas import columns

WORD_LISTS = {
    "kind": columns.KINDS, "change": columns.CHANGES, "band": columns.BANDS, "record_type": columns.RECORD_TYPES,
    "quote_kind": columns.QUOTE_KINDS, "quote_status": columns.QUOTE_STATUSES, "item_status": columns.ITEM_STATUSES,
    "channel": columns.CHANNELS, "bargained_by": columns.BARGAINED_BY, "action": columns.ACTIONS,
    "payer": columns.PAYERS, "dead_letter": columns.REASONS,
}  # fmt: skip
REASONS_OF_ALERTS = (
    "hold_released", "new_listing", "own_price_rose", "reference_fell", "own_price_fell", "expired", "delisted",
    "reference_rose", "item_changed", "policy_changed", "kind_changed", "policy_deadline", "above_lowest", "above_listing",
    "unit_mismatch", "outlier_low", "confirmed", "rejected", "corroborated", "superseded", "contract_ended",
)  # fmt: skip
RULES = ("lowest", "mean_of_lowest", "median", "rolling_lowest", "ceiling", "listing")
CHINESE = re.compile(r"[\u4e00-\u9fff]")

words: dict[str, dict[str, dict[str, str]]] = json.loads(WORDS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("section", WORD_LISTS)
def test_every_word_list_is_translated(section: str, language: str) -> None:
    assert set(words[language][section]) == set(WORD_LISTS[section])


def test_every_word_list_of_the_columns_is_one_of_these() -> None:
    lists = {
        name: value
        for name, value in vars(columns).items()
        if isinstance(value, tuple) and value and all(isinstance(word, str) for word in value)
    }
    assert set(lists.values()) == set(WORD_LISTS.values()), "a new word list needs words on the page, too"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_and_rule_has_a_name_and_a_sentence(language: str) -> None:
    assert set(words[language]["reason"]) == set(REASONS_OF_ALERTS)
    assert set(words[language]["reason_text"]) == set(REASONS_OF_ALERTS)
    assert set(words[language]["rule"]) == set(RULES)
    assert set(words[language]["must"]) == {
        name for kind in columns.KINDS for name in (kind, f"{kind}_ended")
    }  # fmt: skip


def test_both_languages_have_the_same_words_with_the_same_places_to_fill_in() -> None:
    chinese, english = (words[language] for language in LANGUAGES)
    assert chinese.keys() == english.keys()
    for section in chinese.keys() - {"tile"}:
        assert chinese[section].keys() == english[section].keys(), section
        for key, text in chinese[section].items():
            assert places(text) == places(english[section][key]), f"{section}.{key}"


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_each_language_is_itself() -> None:
    for section, entries in words["en"].items():
        for key, text in entries.items():
            assert not CHINESE.search(text) or key in {"language", "language_hint"}, f"{section}.{key}"
    for section, entries in words["zh"].items():
        for key, text in entries.items():
            readable = CHINESE.search(text) or not re.search("[a-z]{3}", re.sub(r"\{\w+\}", "", text))
            assert readable or key in {"language", "language_hint"}, f"{section}.{key}"


def test_the_page_uses_no_word_that_is_not_there() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in STATIC.glob("*.js")}
    template = (HERE / "templates" / "page.html").read_text(encoding="utf-8")
    used = set(re.findall(r'data-t(?:-\w+)?="(\w+)"', template))
    for text in sources.values():
        used |= set(re.findall(r'\bui\(\s*"(\w+)"', text))
    missing = {key for key in used if key not in words["zh"]["ui"]}
    assert not missing


def test_tiles_are_named_by_provinces_that_exist() -> None:
    for language in LANGUAGES:
        assert words[language]["tile"].keys() <= {province.code for province in PROVINCES}


def test_the_page_loads_nothing_from_elsewhere() -> None:
    foreign = [
        (path.name, address)
        for path in (*STATIC.iterdir(), HERE / "templates" / "page.html")
        for address in re.findall(r"https?://[^\s\"')]+", path.read_text(encoding="utf-8"))
        if not address.startswith("http://www.w3.org/")
    ]
    assert not foreign


def test_every_province_has_a_tile_of_its_own() -> None:
    text = (STATIC / "tiles.js").read_text(encoding="utf-8")
    tiles = re.findall(r"(\d{6}): \[(\d), (\d)\]", text)
    assert {code for code, _, _ in tiles} == {province.code for province in PROVINCES}
    assert len({(row, column) for _, row, column in tiles}) == len(PROVINCES)
