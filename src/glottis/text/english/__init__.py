"""English as it is read aloud: numbers, dates, money, abbreviations and signs to words.

A text is scanned once, from left to right. At each place the first rule whose pattern matches and
whose reader accepts says what is spoken there; a reader returns None to decline. No rule ever sees
what another produced, so rules cannot interfere, and every spoken word knows the text it came from.
"""

from glottis.text.english.rules import read

__all__ = ["read"]
