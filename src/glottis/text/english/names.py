"""Readers for addresses, abbreviations, roman numerals, acronyms and signs."""

from __future__ import annotations

import re

from glottis.text.english import numbers
from glottis.text.english import words as table
from glottis.text.english.numbers import cardinal, ordinal
from glottis.text.english.scene import Scene, Spoken, closing_stop
from glottis.text.scanning import roman_value
from glottis.text.tokens import Token

# --- addresses -----------------------------------------------------------------------------------


def _spell_address(written: str) -> str:
    """An e-mail or web address: known parts as words, signs by name, digits one by one."""
    words = []
    for part in re.findall(r"[^\W\d_]+|[0-9]+|[^\s]", written):
        if part.isdecimal():
            words.append(numbers.digits(part) if len(part) != 2 else numbers.number(part))
        elif part.isalpha():
            short = part.casefold() in table.SPELLED_DOMAINS or not re.search(
                "[aeiouyAEIOUY]", part
            )
            words.append(" ".join(part.upper()) if short and part.isascii() else part)
        else:
            words.append(table.ADDRESS_SIGNS.get(part, ""))
    return " ".join(word for word in words if word)


def address(m: re.Match[str], scene: Scene) -> Spoken:
    return _spell_address(re.sub(r"^(?:https?|ftp)://", "", m[0], flags=re.I).rstrip("/"))


def domain(m: re.Match[str], scene: Scene) -> Spoken:
    """A name without "www": "example.com", "notes.txt"; not "etc.in" or "3.me"."""
    parts = m[0].split("/")[0].split(".")
    if parts[-1] not in table.DOMAINS or parts[0].isdecimal():
        return None
    return _spell_address(m[0].rstrip("/"))


def handle(m: re.Match[str], scene: Scene) -> Spoken:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", m[0][1:])
    words = [
        _alphanumeric(part if part.isupper() else part.lower(), scene) for part in name.split()
    ]
    return f"{'at' if m[0][0] == '@' else 'hashtag'} {' '.join(words)}"


# --- letters and names ---------------------------------------------------------------------------


def plain(m: re.Match[str], scene: Scene) -> Spoken:
    return None if m[0] in table.SPECIAL else m[0]


def dotted(m: re.Match[str], scene: Scene) -> Spoken:
    known = table.ABBREVIATIONS.get(m[0].rstrip(".").casefold())
    if known:
        tokens = [Token(m[0], known)]
    else:
        tokens = [Token(m[0], " ".join(c for c in m[0].upper() if c != "."))]
    return tokens + (closing_stop(m, m[0], scene) if m[0].endswith(".") else [])


def initial(m: re.Match[str], scene: Scene) -> Spoken:
    return [Token(m[0], m[0][0]), *closing_stop(m, m[0], scene)]


def abbreviation(m: re.Match[str], scene: Scene) -> Spoken:
    """A shortened word; what stands around it decides between readings, or that it is none.

    What is expanded with its full stop is expanded wherever it stands, so that the outcome does not
    hang on words that are themselves about to change.
    """
    written, dot = m["abbr"], m["dot"]
    key = written.casefold()
    capitals = written.isupper() and len(key) > 1 and key not in table.ALSO_CAPITALS
    if key not in table.ABBREVIATED or capitals:
        return None
    before, after = scene.before(m.start()), scene.after(m.end())
    capital, capital_after = written[0].isupper(), bool(re.match(r"\s+[\"']?[A-Z]", after))
    said: str | None = None
    if key in ("st", "dr"):
        if capital and (dot or (len(written) == 2 and written != "ST")):
            said = _saint_or_street(key, before, capital_after)
    elif key in table.BEFORE_NUMBER and (dot or key in table.BARE_BEFORE_NUMBER):
        several = re.match(r"\s?[0-9]+\s?(?:[-–,&]|and|to)\s?[0-9]", after)
        if re.match(r"\s?#?(?:[0-9]|[IVX]{2,}\b)", after):
            said = table.BEFORE_NUMBER[key][1 if several and key != "no" else 0]
        elif dot:
            said = table.ABBREVIATIONS.get(key)
    elif key in table.BEFORE_NAME:
        if capital and (dot or (key in table.BARE and capital_after)):
            said = table.BEFORE_NAME[key]
    elif key in table.AFTER_NAME:
        if capital and (dot or key in table.BARE):
            said = table.AFTER_NAME[key]
    elif dot or key in table.BARE:
        said = table.ABBREVIATIONS[key]
    if said is None:
        return None
    return [Token(m[0], said), *(closing_stop(m, m[0], scene) if dot else [])]


def _saint_or_street(key: str, before: str, capital_after: bool) -> str:
    """ "12 Elm St. Boston", "Elm Dr. is", but "near St. Paul", "Hello Dr. Smith"."""
    named = re.search(r"\b([A-Z][a-z]+) $", before)
    if named and named[1] not in table.NOT_NAMES:
        numbered = re.search(r"\b[0-9]+[a-z]* (?:\w+ )+$", before)
        behind = not capital_after or numbered is not None
    else:
        behind = key == "st" and not capital_after
    if key == "st":
        return "Street" if behind else "Saint"
    return "Drive" if behind else "Doctor"


def roman(m: re.Match[str], scene: Scene) -> Spoken:
    written = m["roman"]
    value = roman_value(written)
    if not value:
        return None
    before, after = scene.before(m.start()), scene.after(m.end())
    if m["th"] or re.match(r"(?:th|st|nd|rd)?[ -]centur", after):
        return ordinal(value, scene.british)
    previous = re.search(r"([A-Za-z'.]+) $", before)
    name = previous[1].rstrip(".") if previous else ""
    single = len(written) == 1
    if single and written not in "IVX":
        return None  # "Part C" is a letter
    if name.casefold() in table.ROMAN_AFTER and (
        name[0].isupper() or not single or after[:1] != " "
    ):
        return cardinal(value)
    if name in table.REGNAL and value < 40:
        if written in ("I", "V", "X") and not re.match(
            r"\s*(?:[^\w\s]|$|(?:and|of|was|who|in|to|died|reigned|ruled|became|had|is|did|from|by)\b)",
            after,
        ):
            return None
        return f"the {ordinal(value)}"
    small = len(written) >= 2 and not written.strip("IVX") and value < 40
    if small and name[:1].isupper() and name not in table.NOT_NAMES:
        return cardinal(value)  # "Final Fantasy VII"
    if len(written) >= 4 and 1500 <= value <= 2100:
        return numbers.year(value, scene.british)
    return None


def mixed(m: re.Match[str], scene: Scene) -> Spoken:
    if re.search(r"-[0-9]+0s$", m[0]):
        return None  # "mid-1990s"
    return _alphanumeric(m[0], scene)


def _alphanumeric(written: str, scene: Scene) -> str:
    """Letters and digits in one word: runs are read by themselves ("MP3", "B2B", "COVID-19")."""
    if written in table.SPELLINGS:
        return table.SPELLINGS[written]
    parts = []
    for part in re.findall(r"[^\W\d_]+|[0-9]+(?:\.[0-9]+)?", written):
        if part[0].isdecimal():
            parts.append(_code(part))
        elif part in table.SPELLINGS:
            parts.append(table.SPELLINGS[part])
        elif part.isascii() and (len(part) <= 2 or not re.search("[aeiouyAEIOUY]", part)):
            parts.append(" ".join(part.upper()))
        else:
            parts.append(_capitals(part, scene))
    return " ".join(parts)


def _code(written: str) -> str:
    """Digits in a code: 380 -> "three eighty", 2000 -> "two thousand", 007 digit by digit."""
    if len(written) > 4 and written.isdecimal():
        return numbers.digits(written)
    if written.isdecimal() and written[0] != "0":
        value = int(written)
        if len(written) == 3 and value % 100:
            rest = value % 100
            tail = f"oh {cardinal(rest)}" if rest < 10 else cardinal(rest)
            return f"{cardinal(value // 100)} {tail}"
        if len(written) == 4:
            return numbers.year(value)
    return numbers.number(written)


def word(m: re.Match[str], scene: Scene) -> Spoken:
    written = m[0]
    if written in table.SPELLINGS:
        return table.SPELLINGS[written]
    if "-" in written and re.search(r"[A-Z]{2}", written):
        return " ".join(_capitals(part, scene) for part in written.split("-"))
    return _capitals(written, scene)


def _capitals(word: str, scene: Scene) -> str:
    """Acronyms letter by letter or as a word; words in capitals for emphasis in lower case."""
    stem = re.fullmatch(r"([A-Z]{2,})('?s|'S)?", word)
    if not stem:
        bare = word.replace("'", "").replace("-", "")
        if scene.shouting and word == "A":
            return "a"
        return word.lower() if len(bare) > 1 and bare.isupper() else word
    letters, tail = stem[1], "'s" if stem[2] else ""
    if letters in table.SAID_AS_WORDS:
        return letters + tail
    shouted = letters in table.SHOUTED
    spelled = letters in table.SAID_AS_LETTERS or not re.search("[AEIOUY]", letters)
    if spelled and not (shouted and scene.shouting):
        return " ".join(letters) + tail
    if scene.shouting or shouted:
        return letters.lower() + tail
    if len(letters) <= 3 or not _pronounceable(letters):
        return " ".join(letters) + tail
    return letters.lower() + tail


def _pronounceable(letters: str) -> bool:
    runs = re.findall("[^AEIOUY]+", letters)
    first = re.match("[^AEIOU]+", letters)
    return (not first or first[0] in table.ONSETS) and all(len(run) <= 3 for run in runs)


# --- signs ---------------------------------------------------------------------------------------


def sign(m: re.Match[str], scene: Scene) -> Spoken:
    return table.SIGNS[m[0]]


def hash_sign(m: re.Match[str], scene: Scene) -> Spoken:
    return "number" if re.match(r"[0-9]", scene.after(m.end())) else "hash"


def slash(m: re.Match[str], scene: Scene) -> Spoken:
    around = re.search(r"(\w+)$", scene.before(m.start())), re.match(r"\w+", scene.after(m.end()))
    if not all(around):
        return [Token(m[0], ",")] if scene.after(m.end(), 1).isspace() else []
    left, right = around[0][1], around[1][0]  # type: ignore[index]
    if left.casefold() == "and" or (left.isupper() and right.isupper()):
        return []  # "and/or", "TCP/IP"
    return "slash"


def per(m: re.Match[str], scene: Scene) -> Spoken:
    """A slash behind an amount and before a unit, "$100/month"."""
    unit = table.PER.get(m["unit"])
    if unit is None or not re.search("[0-9]", scene.before(m.start(), 20)):
        return None
    return f"per {unit}"


def greek(m: re.Match[str], scene: Scene) -> Spoken:
    return table.GREEK.get(m[0].lower())


def plus_plus(m: re.Match[str], scene: Scene) -> Spoken:
    return f"{m[0][0]} {'sharp' if m[0][1] == '#' else 'plus plus'}"


def ampersand(m: re.Match[str], scene: Scene) -> Spoken:
    return " and ".join(" ".join(part) for part in m[0].split("&"))


def optional_plural(m: re.Match[str], scene: Scene) -> Spoken:
    """ "book(s)" is read as the plural."""
    return m[0].replace("(", "").replace(")", "")
