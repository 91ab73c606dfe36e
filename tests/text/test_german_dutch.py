"""German and Dutch as careful readers say them, and the laws of their numbers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.text import FrontEnd
from glottis.text.germanic import dutch, german
from glottis.text.normalize import MARKS, join, normalize, tokens
from glottis.text.tokens import clean

GERMAN = [
    # Cardinals
    ("Ich habe 3 Katzen.", "Ich habe drei Katzen."),
    ("0 Fehler", "null Fehler"),
    ("Sie ist 42.", "Sie ist zweiundvierzig."),
    ("Alle 100 kamen.", "Alle hundert kamen."),
    ("365 Tage", "dreihundert fünfundsechzig Tage"),
    ("1.234 Leute", "tausend zweihundert vierunddreißig Leute"),
    ("21.000 Plätze", "einundzwanzigtausend Plätze"),
    ("1.234.567", "eine Million zweihundert vierunddreißigtausend fünfhundert siebenundsechzig"),
    ("2.000.001", "zwei Millionen eins"),
    ("Agent 007", "Agent null null sieben"),
    ("Es waren -5 Grad.", "Es waren minus fünf Grad."),
    ("1 Woche, 1 Tag", "eine Woche, ein Tag"),
    # Ordinals
    ("Der 3. Mann", "Der dritte Mann"),
    ("im 19. Jahrhundert", "im neunzehnten Jahrhundert"),
    ("Die 7. Frage", "Die siebte Frage"),
    ("in der 1. Klasse", "in der ersten Klasse"),
    ("ihr 21. Geburtstag", "ihr einundzwanzigster Geburtstag"),
    ("der 1.000. Besucher", "der tausendste Besucher"),
    ("der 1.000.000. Besucher", "der einmillionste Besucher"),
    ("2. und 3. Platz", "zweiter und dritter Platz"),
    ("Siehe Kapitel 3. Das ist neu.", "Siehe Kapitel drei. Das ist neu."),
    # Decimals, fractions, ranges
    ("Es ist 3,5 lang.", "Es ist drei Komma fünf lang."),
    ("Pi ist 3,14159.", "Pi ist drei Komma eins vier eins fünf neun."),
    ("½ Liter", "ein halb Liter"),
    ("2½ Jahre", "zweieinhalb Jahre"),
    ("3/4 davon", "drei Viertel davon"),
    ("10–15 Minuten", "zehn bis fünfzehn Minuten"),
    ("4 x 100 m", "vier mal hundert Meter"),
    ("Es stand 3:2.", "Es stand drei zu zwei."),
    # Years, dates, times
    ("1999", "neunzehnhundert neunundneunzig"),
    ("seit 2008", "seit zweitausend acht"),
    ("1990-1995", "neunzehnhundert neunzig bis neunzehnhundert fünfundneunzig"),
    ("in den 1990er Jahren", "in den neunzehnhundert neunziger Jahren"),
    ("44 v. Chr.", "vierundvierzig vor Christus."),
    ("am 3.4.2021", "am dritten April zweitausend einundzwanzig"),
    ("am 24.12.1999.", "am vierundzwanzigsten Dezember neunzehnhundert neunundneunzig."),
    ("Am 3.4. kam er.", "Am dritten April kam er."),
    ("der 3. Mai 2021", "der dritte Mai zweitausend einundzwanzig"),
    ("vom 1. bis 3. Mai", "vom ersten bis dritten Mai"),
    ("Berlin, 3. Jan. 2020", "Berlin, dritter Januar zweitausend zwanzig"),
    ("2021-03-04", "vierter März zweitausend einundzwanzig"),
    ("Wir kommen am 3.", "Wir kommen am dritten."),
    ("um 15:45 Uhr", "um fünfzehn Uhr fünfundvierzig"),
    ("um 15.30 Uhr", "um fünfzehn Uhr dreißig"),
    ("um 8 Uhr und 1 Uhr", "um acht Uhr und ein Uhr"),
    ("um 00:05", "um null Uhr fünf"),
    # Money, percent, units
    ("Es kostet 3,50 €.", "Es kostet drei Euro fünfzig."),
    ("1 € und 0,99 €", "ein Euro und neunundneunzig Cent"),
    ("12,- €", "zwölf Euro"),
    ("1,5 Mio. Euro", "eins Komma fünf Millionen Euro"),
    ("1 Mio. Menschen", "eine Million Menschen"),
    ("3 Mrd. €", "drei Milliarden Euro"),
    ("$5", "fünf Dollar"),
    ("5 %", "fünf Prozent"),
    ("10-15 %", "zehn bis fünfzehn Prozent"),
    ("5 km", "fünf Kilometer"),
    ("1 kg und 1 h", "ein Kilogramm und eine Stunde"),
    ("80 km/h", "achtzig Kilometer pro Stunde"),
    ("50 m²", "fünfzig Quadratmeter"),
    ("20 °C", "zwanzig Grad Celsius"),
    # Abbreviations, names, signs
    ("z. B. heute", "zum Beispiel heute"),
    ("Z.B. heute", "Zum Beispiel heute"),
    ("d. h. morgen", "das heißt morgen"),
    ("Dr. Müller und Prof. Klein", "Doktor Müller und Professor Klein"),
    ("Äpfel usw.", "Äpfel und so weiter."),
    ("Nr. 5, S. 12, § 3", "Nummer fünf, Seite zwölf, Paragraf drei"),
    ("Ludwig XIV. war König.", "Ludwig der Vierzehnte war König."),
    ("Der II. Weltkrieg", "Der zweite Weltkrieg"),
    ("A. Merkel und J. S. Bach", "A Merkel und J S Bach"),
    ("Version 2.1.3 und 2.0.", "Version zwei Punkt eins Punkt drei und zwei Punkt null."),
    ("3x am Tag", "drei mal am Tag"),
    ("Das sind Max. und Jan.", "Das sind Max. und Jan."),
    ("max. 5 Jahre", "maximal fünf Jahre"),
    ("Vitamin C. Das ist gut.", "Vitamin C. Das ist gut."),
    ("Tel. 030 1234567", "Telefon null drei null, eins zwei drei vier fünf sechs sieben"),
    ("die USA und die NATO", "die U S A und die NATO"),
    ("MP3", "M P drei"),
    ("www.beispiel.de", "W W W Punkt beispiel Punkt de"),
    ("Müller & Sohn", "Müller und Sohn"),
    ("Müller (aus Köln) kommt – heute!", "Müller, aus Köln, kommt; heute!"),
    ("Wörter bleiben, wie sie sind.", "Wörter bleiben, wie sie sind."),
]  # fmt: skip
DUTCH = [
    # Cardinals
    ("Ik heb 3 katten.", "Ik heb drie katten."),
    ("22 honden en 1 kat", "tweeëntwintig honden en één kat"),
    ("365 dagen", "driehonderd vijfenzestig dagen"),
    ("1.234.567 mensen", "één miljoen tweehonderd vierendertigduizend vijfhonderd zevenenzestig "
     "mensen"),
    ("agent 007", "agent nul nul zeven"),
    ("het was -5", "het was min vijf"),
    # Ordinals
    ("de 1e, 2de en 3e keer", "de eerste, tweede en derde keer"),
    ("de 8ste dag", "de achtste dag"),
    ("de 21ste eeuw", "de eenentwintigste eeuw"),
    ("de 100e", "de honderdste"),
    # Decimals, fractions, ranges
    ("3,5 en 3,14 en 0,05", "drie komma vijf en drie komma veertien en nul komma nul vijf"),
    ("1/2 en 3/4", "een half en drie vierde"),
    ("10-15 minuten", "tien tot vijftien minuten"),
    # Years, dates, times
    ("1999 en 2008", "negentienhonderd negenennegentig en tweeduizend acht"),
    ("de jaren '90", "de jaren negentig"),
    ("op 3 mei 2021", "op drie mei tweeduizend eenentwintig"),
    ("3-4-2021", "drie april tweeduizend eenentwintig"),
    ("03/04/21", "drie april tweeduizend eenentwintig"),
    ("om 15:45 uur", "om vijftien uur vijfenveertig"),
    ("om 15.30 uur", "om vijftien uur dertig"),
    ("om 8u30 of 9 uur", "om acht uur dertig of negen uur"),
    ("om 1 uur", "om één uur"),
    # Money, percent, units
    ("Het kost € 3,50.", "Het kost drie euro vijftig."),
    ("€ 12,-", "twaalf euro"),
    ("€ 0,99", "negenennegentig cent"),
    ("€ 3 mln.", "drie miljoen euro"),
    ("1,5 miljoen euro", "één komma vijf miljoen euro"),
    ("2,5%", "twee komma vijf procent"),
    ("5 km", "vijf kilometer"),
    ("80 km/u", "tachtig kilometer per uur"),
    ("50 m²", "vijftig vierkante meter"),
    ("20 °C", "twintig graden Celsius"),
    # Abbreviations, names, signs
    ("bijv. vandaag, d.w.z. nu", "bijvoorbeeld vandaag, dat wil zeggen nu"),
    ("Dhr. Jansen en mevr. De Vries", "De heer Jansen en mevrouw De Vries"),
    ("appels enz.", "appels enzovoort."),
    ("o.a. i.v.m. de regen", "onder andere in verband met de regen"),
    ("blz. 12 t/m 14", "bladzijde twaalf tot en met veertien"),
    ("Willem II was koning.", "Willem de tweede was koning."),
    ("de XIXe eeuw", "de negentiende eeuw"),
    ("2 x per week", "twee keer per week"),
    ("Dat is Jan.", "Dat is Jan."),
    ("'t Is zo'n auto.", "'t Is zo'n auto."),
    ("het KNMI en de NAVO", "het K N M I en de NAVO"),
    ("Jan & Piet", "Jan en Piet"),
    ("De vos – die bruine – sprong.", "De vos; die bruine; sprong."),
]  # fmt: skip
CASES = [("de", *case) for case in GERMAN] + [("nl", *case) for case in DUTCH]


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_read_aloud(language: str, written: str, spoken: str) -> None:
    assert normalize(written, language) == spoken


@pytest.mark.parametrize(("language", "written", "spoken"), CASES)
def test_one_reading_is_final(language: str, written: str, spoken: str) -> None:
    once = join(tokens(written, language))
    assert once == spoken
    assert normalize(once, language) == once


@pytest.mark.parametrize("written", [written for written, _ in GERMAN])
def test_regions_read_as_their_language(written: str) -> None:
    assert normalize(written, "de-AT") == normalize(written, "de")


def fragments() -> st.SearchStrategy[str]:
    """Text put together from the tables' own pieces, run together or not."""
    pieces = sorted({piece for _, written, _ in CASES for piece in written.split()})
    return st.lists(
        st.tuples(st.sampled_from(pieces), st.sampled_from([" ", " ", " ", "", "\n\n"])),
        max_size=8,
    ).map(lambda pairs: "".join(piece + gap for piece, gap in pairs))


LANGUAGES = st.sampled_from(["de", "nl"])
TEXT = st.one_of(st.text(max_size=60), fragments())


@settings(deadline=None)
@given(TEXT, LANGUAGES)
def test_normalising_is_idempotent_and_leaves_words_and_marks(text: str, language: str) -> None:
    spoken = normalize(text, language)
    assert normalize(spoken, language) == spoken
    assert not re.search(r"[0-9$£€%@#&+=<>*_/\\\[\](){}\"\n\t]", spoken)
    assert "  " not in spoken
    assert spoken == spoken.strip()
    assert not spoken or spoken[0] not in MARKS


@settings(deadline=None)
@given(TEXT, LANGUAGES)
def test_tokens_quote_the_text_in_order(text: str, language: str) -> None:
    cleaned = clean(text)
    position = 0
    for token in tokens(text, language):
        found = cleaned.find(token.written, position)
        assert found >= 0
        position = found + len(token.written)


@pytest.mark.parametrize("language", ["de", "nl"])
def test_a_written_word_keeps_its_place_among_the_phonemes(language: str) -> None:
    text = "Am 3. Mai 2021 kostet es 3,50 €." if language == "de" else "Op 3 mei kost het € 3,50."
    utterance = FrontEnd(language).analyse(text)
    assert [word.text for word in utterance.words][-1] == (
        "3,50 €" if language == "de" else "€ 3,50"
    )
    assert all(word.start < word.end for word in utterance.words)


def test_every_character_left_out_is_reported() -> None:
    left_out: list[str] = []
    tokens("eins 😀 zwei 日本 drei", "de", unsayable=left_out.append)
    assert left_out == ["😀", "日", "本"]


@pytest.mark.parametrize(
    "unit", ["1.", "3. ", "z. B. ", "1.000", "12:", "€", "Dr. ", "1/", "1-", "IV. "]
)
@pytest.mark.parametrize("language", ["de", "nl"])
def test_work_grows_linearly(unit: str, language: str) -> None:
    def read(times: int) -> int:
        import sys

        steps = 0

        def count(*_: object) -> object:
            nonlocal steps
            steps += 1
            return count

        before = sys.gettrace()
        sys.settrace(count)  # type: ignore[arg-type]
        try:
            tokens(unit * times, language)
        finally:
            sys.settrace(before)
        return steps

    read(10)  # patterns are compiled when they are first used
    assert read(1200) <= 4.4 * read(300) + 500


def _german_value(words: str) -> int:
    names = {name: value for value, name in enumerate(german._SMALL)}
    names |= {name: 10 * value for value, name in enumerate(german._TENS) if value > 1}
    names |= {"ein": 1, "eine": 1, "": 1}
    groups = {name: 10 ** (6 + 3 * power) for power, name in enumerate(german._GROUPS)}
    groups |= {name + ("n" if name[-1] == "e" else "en"): value for name, value in groups.items()}

    def small(word: str) -> int:
        if word.endswith("hundert"):
            return 100 * names[word.removesuffix("hundert")]
        one, joint, tens = word.partition("und")
        return names[one] + names[tens] if joint and tens in names else names[word]

    total = group = 0
    for word in words.split():
        if word in groups:
            total, group = total + group * groups[word], 0
        elif word.endswith("tausend"):
            rest = word.removesuffix("tausend")
            group = (group + (small(rest) if rest or not group else 0)) * 1000
        else:
            group += small(word)
    return total + group


def _dutch_value(words: str) -> int:
    names = {name: value for value, name in enumerate(dutch._SMALL)}
    names |= {name: 10 * value for value, name in enumerate(dutch._TENS) if value > 1}
    names |= {"een": 1, "": 1}
    groups = {name: 10 ** (6 + 3 * power) for power, name in enumerate(dutch._GROUPS)}

    def small(word: str) -> int:
        if word.endswith("honderd"):
            return 100 * names[word.removesuffix("honderd")]
        for found in re.finditer("en|ën", word):
            one, tens = word[: found.start()], word[found.end() :]
            if names.get(one, 10) < 10 and tens in names:
                return names[one] + names[tens]
        return names[word]

    total = group = 0
    for word in words.split():
        if word in groups:
            total, group = total + group * groups[word], 0
        elif word.endswith("duizend"):
            rest = word.removesuffix("duizend")
            group = (group + (small(rest) if rest or not group else 0)) * 1000
        else:
            group += small(word)
    return total + group


@settings(deadline=None)
@given(st.integers(0, german.LARGEST))
def test_german_cardinals_name_every_number_once(number: int) -> None:
    """Reading the words back, by the grammar of German numbers, gives the number."""
    assert _german_value(german.cardinal(number)) == number


@settings(deadline=None)
@given(st.integers(0, dutch.LARGEST))
def test_dutch_cardinals_name_every_number_once(number: int) -> None:
    assert _dutch_value(dutch.cardinal(number)) == number


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_ordinals_extend_cardinals(number: int) -> None:
    for cardinal, ordinal in (
        (german.cardinal(number), german.stem(number) + "e"),
        (dutch.cardinal(number), dutch.ordinal(number)),
    ):
        start = cardinal.rpartition(" ")[0]
        assert ordinal.startswith(start) or number == 10**6
        assert ordinal.endswith(("te", "de", "ste"))
