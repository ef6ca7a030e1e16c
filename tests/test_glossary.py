"""The glossary: every word of the contract is explained, in whole sentences, and unknown words get help."""

import json
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from fadeout import glossary, records, terms
from fadeout.errors import FadeoutError

ROOT = Path(__file__).parents[1]
CONTRACT = [
    word
    for literal in (records.Verdict, records.Kind, records.Level, records.Progress, records.Status)
    for word in typing.get_args(literal)
]
SHOWN = (  # columns, headings and remarks of the terminal report and of the page
    "decades", "account", "ledger", "log gain", "front", "stage", "trunk", "branch share", "share", "end", "slope",
    "chain", "loss side", "data side", "closing error", "unaccounted", "horizon", "reach", "reach map", "update ratio",
    "effective depth", "effective blocks", "sees", "moves", "neither", "between samples", "mean slope", "underflow",
    "dormant", "probe", "course", "confidence", "sigma_w", "sigma_b", "q", "chi", "band", "forecast", "surprise",
    "live rows", "rank collapse", "entropy", "influence", "residual streams", "gate horizon", "no gradient", "n/a",
)  # fmt: skip
each_term = pytest.mark.parametrize("term", terms.TERMS, ids=lambda t: t.word)


@pytest.mark.parametrize("word", [*CONTRACT, *SHOWN])
def test_every_word_of_the_contract_and_of_the_report_is_explained(word: str) -> None:
    assert glossary.definition(word)
    assert glossary.definition(word.upper().replace("_", " ")) == glossary.definition(word)


@each_term
def test_an_entry_is_whole_sentences(term: terms.Term) -> None:
    assert re.match(r"[A-Z1-9]|log10 |'", term.text), term.text
    assert term.text.endswith("."), term.text
    assert 5 <= len(term.text.split()) <= 70, term.text
    assert "  " not in term.text and "\n" not in term.text
    for part in re.split(r"(?<=\.) (?=[A-Z])", term.text):
        assert len(part.split()) <= 40, f"too long a sentence: {part}"


@each_term
def test_an_entry_points_at_pages_that_exist(term: terms.Term) -> None:
    for more in term.more:
        page = ROOT / "docs" / "findings" / f"{more}.md" if more.startswith("FO") else ROOT / more
        assert page.is_file(), more


def test_no_spelling_belongs_to_two_entries() -> None:
    spellings = [terms.normal(s) for t in terms.TERMS for s in {terms.normal(w) for w in (t.word, *t.also)}]
    assert len(spellings) == len(set(spellings))


def test_a_word_is_explained_with_its_spellings_and_where_to_read_on() -> None:
    text = glossary.explain("log_gain")
    assert text.startswith("# log gain\n")
    assert "Also written: log_gain" in text
    assert "`fadeout explain FO101`" in glossary.explain("Vanishing")


def test_a_code_gives_its_page_without_the_picture() -> None:
    text = glossary.explain(" fo101 ")
    assert text.startswith("# FO101 ")
    assert "![" not in text


def test_no_word_lists_all_findings_and_all_words() -> None:
    text = glossary.explain()
    assert "FO101" in text
    for term in terms.TERMS:
        assert re.search(rf"(\*\*: |, ){re.escape(term.word)}(,|\n)", text), term.word


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("decads", "decades"),
        ("horizont", "horizon"),
        ("shattered", "FO216"),
        ("zzzz", "lists all"),
        ("FO999", "FO101"),
        ("../index", "lists all"),
    ],
)
def test_an_unknown_word_names_those_that_are_near(word: str, hint: str) -> None:
    assert glossary.definition(word) is None
    with pytest.raises(FadeoutError, match=hint) as caught:
        glossary.explain(word)
    assert str(caught.value).startswith(f"explain: there is no finding and no word {word!r}")


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fadeout", "explain", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_explains_words_of_several_parts_and_ends_with_2_where_there_is_none() -> None:
    done = command("branch", "share", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert (told["code"], told["word"], told["title"]) == ("", "branch share", "branch share")
    assert json.loads(command("fo101", "--json").stdout)["code"] == "FO101"
    done = command("decads")
    assert done.returncode == 2
    assert "did you mean decades" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
