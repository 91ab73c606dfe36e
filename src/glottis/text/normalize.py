"""first version"""
from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

PAUSES = ",.?!;:"


@dataclass(frozen=True)
class Token:
    written: str
    spoken: str
    kind: str = "word"  # word, letters, pause


_TOKEN = re.compile(
    r"(?P<year>\b1[0-9]{3}\b)|(?P<number>\d+(?:,\d{3})*)"
    r"|(?P<abbr>\b(?:Mr|Mrs|Dr|St|i\.e|e\.g)\.)|(?P<word>[^\W\d_]+(?:['’\-][^\W\d_]+)*)"
    r"|(?P<dash>--+|—|…|\.\.\.+)|(?P<pause>[,.?!;:]|(?<!\w)[(\[]|[)\]](?!\w))"
)
_ABBR = {"Mr.": "Mister", "Mrs.": "Missus", "Dr.": "Doctor", "St.": "Saint", "i.e.": "that is",
         "e.g.": "for example"}


def tokens(text: str, language: str = "en-us") -> list[Token]:
    out = []
    for m in _TOKEN.finditer(unicodedata.normalize("NFC", text)):
        kind, written = m.lastgroup, m.group()
        if kind in ("year", "number"):
            from num2words import num2words

            n = int(written.replace(",", ""))
            out.append(Token(written, num2words(n, to="year" if kind == "year" else "cardinal").replace(",", "")))
        elif kind == "abbr":
            out.append(Token(written, _ABBR[written]))
        elif kind == "word":
            out.append(Token(written, written.replace("’", "'")))
        elif kind == "dash":
            out.append(Token(written, ";", "pause"))
        else:
            out.append(Token(written, written if written in PAUSES else ",", "pause"))
    return out


def normalize(text: str, language: str = "en-us") -> str:
    return join(tokens(text, language))


def join(items: list[Token]) -> str:
    out = ""
    for t in items:
        out += t.spoken if t.kind == "pause" or not out else " " + t.spoken
    return out
