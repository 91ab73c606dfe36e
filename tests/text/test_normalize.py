"""English as a careful reader says it, and the laws of normalisation."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glottis.text.english import numbers
from glottis.text.normalize import MARKS, join, normalize, tokens
from glottis.text.tokens import clean

CASES = [
    # Cardinals
    ("I have 3 cats.", "I have three cats."),
    ("There were 0 errors.", "There were zero errors."),
    ("It took 17 days.", "It took seventeen days."),
    ("She is 42.", "She is forty-two."),
    ("All 100 came.", "All one hundred came."),
    ("Some 365 days.", "Some three hundred sixty-five days."),
    ("About 1,234 people.", "About one thousand two hundred thirty-four people."),
    ("It has 20,000 seats.", "It has twenty thousand seats."),
    ("We sold 1,000,000 of them.", "We sold one million of them."),
    ("Exactly 7,654,321.", "Exactly seven million six hundred fifty-four thousand three hundred "
     "twenty-one."),
    ("The sum is 12345678.", "The sum is twelve million three hundred forty-five thousand six "
     "hundred seventy-eight."),
    ("Agent 007 arrived.", "Agent zero zero seven arrived."),
    ("It was -5 outside.", "It was minus five outside."),
    ("a change of −3", "a change of minus three"),
    ("a change of +3", "a change of plus three"),
    # Ordinals
    ("the 1st time", "the first time"),
    ("the 2nd and 3rd", "the second and third"),
    ("her 21st birthday", "her twenty-first birthday"),
    ("the 112th Congress", "the one hundred twelfth Congress"),
    ("the 1,000th visitor", "the one thousandth visitor"),
    ("the 15th century", "the fifteenth century"),
    # Decimals, fractions, powers
    ("It is 3.5 long.", "It is three point five long."),
    ("Pi is 3.14159.", "Pi is three point one four one five nine."),
    ("a 0.25 share", "a zero point two five share"),
    ("hit .300 last year", "hit point three zero zero last year"),
    ("add 1/2 cup", "add one half cup"),
    ("2/3 of us", "two thirds of us"),
    ("3/4 done", "three quarters done"),
    ("5/8 inch", "five eighths inch"),
    ("2 1/2 hours", "two and a half hours"),
    ("1½ cups", "one and a half cups"),
    ("¾ full", "three quarters full"),
    ("open 24/7", "open twenty-four seven"),
    ("10^6 bytes", "ten to the sixth bytes"),
    ("5² is 25", "five squared is twenty-five"),
    ("1.5e-3", "one point five times ten to the power of minus three"),
    # Years and decades
    ("In 1455 he printed.", "In fourteen fifty-five he printed."),
    ("by 1490, printing", "by fourteen ninety, printing"),
    ("in 1066", "in ten sixty-six"),
    ("in 1905", "in nineteen oh five"),
    ("in 1900", "in nineteen hundred"),
    ("since 2000", "since two thousand"),
    ("in 2008", "in two thousand eight"),
    ("It was 2021.", "It was twenty twenty-one."),
    ("the 1990s", "the nineteen nineties"),
    ("the '60s", "the sixties"),
    ("in her 30s", "in her thirties"),
    ("the 1800s", "the eighteen hundreds"),
    ("1500 people came", "one thousand five hundred people came"),
    ("5719 writs", "five thousand seven hundred nineteen writs"),
    ("44 BC", "forty-four B C"),
    # Dates
    ("on 3/4/2021", "on March fourth twenty twenty-one"),
    ("on 12/25/99", "on December twenty-fifth nineteen ninety-nine"),
    ("on 2021-03-04", "on March fourth twenty twenty-one"),
    ("March 4th, 2021", "March fourth, twenty twenty-one"),
    ("on July 4, 1776, they", "on July fourth, seventeen seventy-six, they"),
    ("4 March 2021", "the fourth of March twenty twenty-one"),
    ("the 4th of July", "the fourth of July"),
    ("Jan. 5 was cold", "January fifth was cold"),
    ("Sept. 11", "September eleventh"),
    ("24.12.1999", "December twenty-fourth nineteen ninety-nine"),
    ("He was born in May 1990.", "He was born in May nineteen ninety."),
    # Times
    ("at 3:30 pm", "at three thirty P M"),
    ("at 3:30 p.m. today", "at three thirty P M today"),
    ("at 15:45", "at fifteen forty-five"),
    ("at 9:05", "at nine oh five"),
    ("at 7:00", "at seven o'clock"),
    ("at 18:00", "at eighteen hundred"),
    ("at 7:00 am", "at seven A M"),
    ("from 9am to 5pm", "from nine A M to five P M"),
    ("open 9am-5pm", "open nine A M to five P M"),
    ("at 5 p.m. sharp", "at five P M sharp"),
    ("It ended at 5 p.m.", "It ended at five P M."),
    # Money
    ("It costs $3.50.", "It costs three dollars and fifty cents."),
    ("only $1", "only one dollar"),
    ("just $0.99", "just ninety-nine cents"),
    ("$1.01", "one dollar and one cent"),
    ("$1.00", "one dollar"),
    ("£1m", "one million pounds"),
    ("£2.50", "two pounds and fifty pence"),
    ("€20", "twenty euros"),
    ("20 €", "twenty euros"),
    ("¥500", "five hundred yen"),
    ("$1.2 billion", "one point two billion dollars"),
    ("$5k", "five thousand dollars"),
    ("-$5", "minus five dollars"),
    ("$1,234.56", "one thousand two hundred thirty-four dollars and fifty-six cents"),
    ("£285,950;", "two hundred eighty-five thousand nine hundred fifty pounds;"),
    ("a $5 bill", "a five dollar bill"),
    ("a $2 million house", "a two million dollar house"),
    ("$20-$30", "twenty to thirty dollars"),
    ("100 USD", "one hundred U S dollars"),
    ("US$100", "one hundred U S dollars"),
    ("99¢", "ninety-nine cents"),
    # Percent and measures
    ("up 5%", "up five percent"),
    ("2.5 % more", "two point five percent more"),
    ("5-10% off", "five to ten percent off"),
    ("a 50% cut", "a fifty percent cut"),
    ("5 km away", "five kilometers away"),
    ("1 km", "one kilometer"),
    ("at 70 mph", "at seventy miles per hour"),
    ("60 km/h", "sixty kilometers per hour"),
    ("3 m/s", "three meters per second"),
    ("20 °C", "twenty degrees Celsius"),
    ("-40°F", "minus forty degrees Fahrenheit"),
    ("a 90° turn", "a ninety degree turn"),
    ("3 GB of RAM", "three gigabytes of RAM"),
    ("256MB", "two hundred fifty-six megabytes"),
    ("2.4 GHz", "two point four gigahertz"),
    ("250 g of flour", "two hundred fifty grams of flour"),
    ("6 ft. tall", "six feet tall"),
    ("5'10\" tall", "five feet ten tall"),
    ("180 lbs", "one hundred eighty pounds"),
    ("8 oz. of it", "eight ounces of it"),
    ("50 m² of", "fifty square meters of"),
    ("a 5 kg bag", "a five kilogram bag"),
    ("10 min later", "ten minutes later"),
    ("30 ms", "thirty milliseconds"),
    ("a 10-km run", "a ten kilometer run"),
    ("a 5-year-old", "a five year-old"),
    # Ranges, scores, codes
    ("1990-1995", "nineteen ninety to nineteen ninety-five"),
    ("1939–45", "nineteen thirty-nine to forty-five"),
    ("pp. 3-5", "pages three to five"),
    ("p. 12", "page twelve"),
    ("10–15 minutes", "ten to fifteen minutes"),
    ("won 3-2", "won three to two"),
    ("No. 5", "number five"),
    ("Nos. 5 and 6", "numbers five and six"),
    ("#1 fan", "number one fan"),
    ("Vol. 2, ch. 3", "volume two, chapter three"),
    ("see fig. 3", "see figure three"),
    ("version 1.2.3", "version one point two point three"),
    ("v2.0 is out", "version two point zero is out"),
    ("192.168.1.1", "one hundred ninety-two dot one hundred sixty-eight dot one dot one"),
    ("call 555-1234", "call five five five, one two three four"),
    ("call (555) 123-4567", "call five five five, one two three, four five six seven"),
    ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
    # Roman numerals
    ("Henry VIII", "Henry the eighth"),
    ("Louis XIV was", "Louis the fourteenth was"),
    ("Elizabeth I was", "Elizabeth the first was"),
    ("Richard III.", "Richard the third."),
    ("Chapter IV", "Chapter four"),
    ("World War II ended", "World War two ended"),
    ("Part I of it", "Part one of it"),
    ("Rocky II", "Rocky two"),
    ("the XIX century", "the nineteenth century"),
    ("Act V, Scene II", "Act five, Scene two"),
    ("I am here", "I am here"),
    ("and I think", "and I think"),
    ("Vitamin C", "Vitamin C"),
    # Abbreviations
    ("Dr. Smith", "Doctor Smith"),
    ("Mr. and Mrs. Jones", "Mister and Missus Jones"),
    ("Ms. Lee", "Miz Lee"),
    ("Mr Jones", "Mister Jones"),
    ("Prof. Higgins", "Professor Higgins"),
    ("Lt. Col. North", "Lieutenant Colonel North"),
    ("St. Paul's", "Saint Paul's"),
    ("on Main St. near", "on Main Street near"),
    ("12 Elm St. Boston", "twelve Elm Street Boston"),
    ("Mulholland Dr. is", "Mulholland Drive is"),
    ("Mt. Everest", "Mount Everest"),
    ("Sammy Davis Jr. sang", "Sammy Davis Junior sang"),
    ("Acme Inc. is", "Acme Incorporated is"),
    ("e.g. this", "for example this"),
    ("i.e. that", "that is that"),
    ("apples, pears, etc.", "apples, pears, et cetera."),
    ("cats vs. dogs", "cats versus dogs"),
    ("approx. 5", "approximately five"),
    ("w/o sugar", "without sugar"),
    ("J. R. R. Tolkien", "J R R Tolkien"),
    ("She has a Ph.D. in law", "She has a P H D in law"),
    # Acronyms and codes
    ("the BBC", "the B B C"),
    ("NASA said", "NASA said"),
    ("the U.S. Army", "the U S Army"),
    ("in the U.S.", "in the U S."),
    ("the FBI's files", "the F B I's files"),
    ("CDs and DVDs", "C D's and D V D's"),
    ("AT&T and R&B", "A T and T and R and B"),
    ("COVID-19", "COVID nineteen"),
    ("an F-16", "an F sixteen"),
    ("MP3 files", "M P three files"),
    ("an A380", "an A three eighty"),
    ("C++ and C#", "C plus plus and C sharp"),
    ("an X-ray", "an X-ray"),
    ("THIS IS A VERY LOUD TEXT", "this is a very loud text"),
    ("do it NOW please", "do it now please"),
    # Addresses
    ("www.example.com", "W W W dot example dot com"),
    ("see https://example.org/docs.", "see example dot org slash docs."),
    ("mail jo@example.com now", "mail jo at example dot com now"),
    ("example.co.uk", "example dot co dot U K"),
    ("@glottis", "at glottis"),
    ("#BlackFriday", "hashtag black friday"),
    ("WWII ended", "World War two ended"),
    ("TCP/IP and I/O", "T C P I P and I O"),
    ("the mid-1990s", "the mid nineteen nineties"),
    ("Washington, CA. The", "Washington, C A. The"),
    ("Charles I. He ruled.", "Charles the first. He ruled."),
    ("Tel. 555-1234 ext. 5", "telephone five five five, one two three four extension five"),
    ("$100/month", "one hundred dollars per month"),
    ("60 words/min", "sixty words per minute"),
    ("5 ft 6 in tall", "five feet six tall"),
    ("3bn people", "three billion people"),
    ("1/100th of", "one one hundredth of"),
    # Signs
    ("salt & pepper", "salt and pepper"),
    ("2 + 2 = 4", "two plus two equals four"),
    ("3 - 2 = 1", "three minus two equals one"),
    ("a 4 x 6 photo", "a four by six photo"),
    ("and/or", "and or"),
    ("a < b", "a less than b"),
    ("I <3 you", "I less than three you"),
    ("§ 5", "section five"),
    ("© 2021", "copyright twenty twenty-one"),
    ("β-carotene", "beta carotene"),
    # Punctuation and typography
    ("“Yes,” he said.", "Yes, he said."),
    ("It’s the dogs’ bowl.", "It's the dogs bowl."),
    ("Wait… what?", "Wait; what?"),
    ("Well...", "Well."),
    ("What?!", "What?"),
    ("no — never", "no; never"),
    ("as -- so he said -- now", "as; so he said; now"),
    ("one (or two) of", "one, or two, of"),
    ("book(s)", "books"),
    ("so-called", "so-called"),
    ("so\u00adcalled\u200b", "socalled"),
    ("ﬁne", "fine"),
    ("Ｆｕｌｌ", "Full"),
    ("café", "café"),
    ("tab\there\x07 bell", "tab here bell"),
    ("One.\n\nTwo.", "One. Two."),
    ("Heading\n\nText", "Heading. Text"),
    ("hello 😀 world", "hello world"),
    ("**bold** and _it_", "bold and it"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "spoken"), CASES, ids=[written for written, _ in CASES])
def test_read_aloud(written: str, spoken: str) -> None:
    assert normalize(written) == spoken


@pytest.mark.parametrize("written", [written for written, _ in CASES])
def test_one_reading_is_final(written: str) -> None:
    once = join(tokens(written))
    assert once == normalize(written)
    assert normalize(once) == once


BRITISH = [
    ("123", "one hundred and twenty-three"),
    ("1,005", "one thousand and five"),
    ("in 2008", "in two thousand and eight"),
    ("on 3/4/2021", "on the third of April twenty twenty-one"),
    ("5 km", "five kilometres"),
    ("$1.50", "one dollar and fifty cents"),
]


@pytest.mark.parametrize(("written", "spoken"), BRITISH)
def test_british_reading(written: str, spoken: str) -> None:
    assert normalize(written, "en-gb") == spoken


def fragments() -> st.SearchStrategy[str]:
    """Text put together from the table's own pieces, run together or not."""
    pieces = sorted({piece for written, _ in CASES for piece in written.split()})
    return st.lists(
        st.tuples(st.sampled_from(pieces), st.sampled_from([" ", " ", " ", "", "\n\n"])),
        max_size=8,
    ).map(lambda pairs: "".join(piece + gap for piece, gap in pairs))


LANGUAGES = st.sampled_from(["en-us", "en-gb", "de", "nl", "fr", "hi", "ru", "cmn"])


@given(st.one_of(st.text(max_size=60), fragments()), LANGUAGES)
@example("\ud800 \udfff \x00", "en-us")
@example("9" * 5000, "en-us")
@example("$" + "9" * 5000 + ".50 and " + "8" * 5000 + "th, 1/" + "7" * 50, "en-us")
@example("\u0663\u0664 ½⁄ ²⁴ ₂", "en-us")
def test_normalising_is_idempotent_and_never_fails(text: str, language: str) -> None:
    once = normalize(text, language)
    assert normalize(once, language) == once


@given(st.one_of(st.text(max_size=60), fragments()))
def test_english_leaves_only_words_and_marks(text: str) -> None:
    spoken = normalize(text)
    assert not re.search(r"[0-9$£€%@#&+=<>*_/\\\[\](){}\"\n\t]", spoken)
    assert "  " not in spoken
    assert spoken == spoken.strip()
    assert not spoken or spoken[0] not in MARKS


@given(st.one_of(st.text(max_size=60), fragments()), LANGUAGES)
def test_tokens_quote_the_text_in_order(text: str, language: str) -> None:
    cleaned = clean(text)
    position = 0
    for token in tokens(text, language):
        found = cleaned.find(token.written, position)
        assert found >= 0
        position = found + len(token.written)


@given(st.one_of(st.text(max_size=60), fragments()))
def test_cleaning_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_other_languages_keep_their_numbers_for_espeak() -> None:
    assert normalize("Il est 15:45, 3,50 €.", "fr") == "Il est 15:45, 3,50 €."
    assert normalize("M. Dupont (de Lyon) vient – p.ex. demain!", "fr") == (
        "M Dupont, de Lyon, vient; p.ex demain!"
    )


def test_every_character_left_out_is_reported() -> None:
    left_out: list[str] = []
    tokens("a 😀 b 日本 c", unsayable=left_out.append)
    assert left_out == ["😀", "日", "本"]
    left_out.clear()
    tokens("नमस्ते दुनिया", "hi", unsayable=left_out.append)
    assert left_out == []


@given(st.integers(0, numbers.LARGEST))
def test_cardinals_name_every_number_once(number: int) -> None:
    """Reading the words back, by the grammar of English numbers, gives the number."""
    assert _value(numbers.cardinal(number)) == number
    assert _value(numbers.cardinal(number, british=True)) == number


@given(st.integers(1, 10**6))
def test_ordinals_extend_cardinals(number: int) -> None:
    cardinal, ordinal = numbers.cardinal(number), numbers.ordinal(number)
    assert ordinal[:-6] == cardinal[: len(ordinal[:-6])]
    assert ordinal.endswith(("th", "first", "second", "third"))


@given(st.integers(1100, 2099))
def test_years_say_their_number(year: int) -> None:
    words = numbers.year(year).replace("oh ", "zero ").split()
    if "thousand" in words:
        assert _value(" ".join(words)) == year
    else:
        century = _value(words[0])
        rest = words[1:]
        value = 0 if rest == ["hundred"] else _value(rest[-1])
        assert century * 100 + value == year


def _value(words: str) -> int:
    names = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen"
    )
    small = {name: value for value, name in enumerate(names.split())}
    tens = "twenty thirty forty fifty sixty seventy eighty ninety"
    small |= {name: 10 * value for value, name in enumerate(tens.split(), 2)}
    groups = (
        "thousand million billion trillion quadrillion quintillion sextillion septillion "
        "octillion nonillion decillion"
    )
    powers = {name: 1000**power for power, name in enumerate(groups.split(), 1)}
    total = group = 0
    for word in words.replace("-", " ").split():
        if word == "and":
            continue
        if word == "hundred":
            group *= 100
        elif word in powers:
            total, group = total + group * powers[word], 0
        else:
            group += small[word]
    return total + group
