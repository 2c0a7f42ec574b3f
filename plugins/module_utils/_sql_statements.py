# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""A script in PostgreSQL's SQL, cut into statements, and those into words.

Enough of the lexical rules (PostgreSQL's documentation, 4.1 Lexical Structure) that nothing
inside a comment, a string, a dollar-quoted body or a quoted name is taken for a word, and that
no semicolon inside one of them, in parentheses or in a ``BEGIN ATOMIC`` body ends a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

WORD, QUOTED, STRING, BODY, NUMBER, SYMBOL = "word", "quoted", "string", "body", "number", "symbol"
_EXCERPT = 140

_SPACE = re.compile(r"\s+")
_LINE_COMMENT = re.compile(r"--[^\r\n]*")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$")
# In a plain string only the quote itself is doubled; in E'' a backslash escapes.
_PLAIN = re.compile(r"(?:[^']|'')*'")
_ESCAPED = re.compile(r"(?:[^'\\]|''|\\.)*'", re.DOTALL)
_NAME = re.compile(r'(?:[^"]|"")*"')
_PREFIX = re.compile(r"([eEbBxXnN]|[uU]&)(?=')")
_UNICODE_NAME = re.compile(r'[uU]&(?=")')
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*")
_NUMBER = re.compile(r"\d[\w.]*|\.\d[\w.]*")


@dataclass(frozen=True)
class Token:
    """One word of a statement. An unquoted name is in lower case, as PostgreSQL folds it."""

    kind: str
    text: str
    written: str = ""


COMMA, DOT, OPEN, CLOSE = (Token(SYMBOL, sign) for sign in ",.()")


@dataclass
class Statement:
    """One statement, with the comments before and inside it."""

    tokens: list[Token] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    # What was opened and not closed: such a script is not what its author meant.
    unclosed: str = ""

    @property
    def excerpt(self) -> str:
        """The statement for a reader: in one line, short, without what its strings hold."""
        text = ""
        for token in self.tokens:
            shown = {STRING: "'…'", BODY: "$$…$$"}.get(token.kind, token.written or token.text)
            if token.kind == QUOTED:
                shown = '"' + shown.replace('"', '""') + '"'
            tight = shown in (",", ")", ".", "::") or text.endswith(("(", ".", "::"))
            text += shown if not text or tight else f" {shown}"
        return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"


def split(sql: str) -> list[Statement]:
    """Return the statements of a script; what is only a comment is none."""
    found: list[Statement] = []
    current = Statement()
    depth = 0
    ended = 0
    sql = sql.removeprefix("\ufeff")
    for kind, text, begin, end in _lex(sql):
        if kind == "comment":
            # Behind a semicolon, on its line, it speaks of the statement that ended there.
            behind = bool(found) and not current.tokens and "\n" not in sql[ended:begin]
            (found[-1] if behind else current).comments.append(text)
        elif kind == "unclosed":
            current.unclosed = text
        elif (kind, text) == (SYMBOL, ";") and depth <= 0 and not _in_atomic(current.tokens):
            if current.tokens:
                found.append(current)
                current = Statement()
            depth, ended = 0, end
        else:
            depth += {"(": 1, ")": -1}.get(text, 0) if kind == SYMBOL else 0
            word = kind == WORD
            current.tokens.append(Token(kind, text.lower() if word else text, text if word else ""))
    if current.tokens or current.unclosed:
        found.append(current)
    return found


def _in_atomic(tokens: list[Token]) -> bool:
    """Whether a body in SQL (``BEGIN ATOMIC`` … ``END``) is open."""
    words = [token.text if token.kind == WORD else "" for token in tokens]
    if words[:1] != ["create"] or "atomic" not in words:
        return False
    begin = words.index("atomic")
    if words[begin - 1] != "begin":
        return False
    rest = words[begin + 1 :]
    return 1 + rest.count("case") > rest.count("end")


def _lex(sql: str) -> Iterator[tuple[str, str, int, int]]:
    """Kind and text of everything that is no space, and where it begins and ends."""
    at = 0
    while at < len(sql):
        kind, text, end = _next(sql, at)
        if kind:
            yield kind, text, at, end
        at = end


def _next(sql: str, at: int) -> tuple[str, str, int]:
    """Return kind and text of what begins here, and where it ends."""
    space = _SPACE.match(sql, at)
    if space:
        return "", "", space.end()
    line = _LINE_COMMENT.match(sql, at)
    if line:
        return "comment", line.group()[2:].strip(), line.end()
    if sql.startswith("/*", at):
        return _block_comment(sql, at)
    dollar = _DOLLAR.match(sql, at)
    if dollar:
        end = sql.find(dollar.group(), dollar.end())
        if end < 0:
            return "unclosed", f"the body that {dollar.group()} opens", len(sql)
        return BODY, sql[dollar.end() : end], end + len(dollar.group())
    return _literal(sql, at) or _plain(sql, at)


def _block_comment(sql: str, at: int) -> tuple[str, str, int]:
    depth, position = 0, at
    while True:
        mark = _COMMENT_MARK.search(sql, position)
        if mark is None:
            return "unclosed", "the comment that /* opens", len(sql)
        depth += 1 if mark.group() == "/*" else -1
        position = mark.end()
        if depth == 0:
            return "comment", sql[at + 2 : position - 2].strip(), position


def _literal(sql: str, at: int) -> tuple[str, str, int] | None:
    prefix = _PREFIX.match(sql, at)
    quote = prefix.end() if prefix else at
    if sql.startswith("'", quote):
        pattern = _ESCAPED if prefix and prefix.group() in "eE" else _PLAIN
        string = pattern.match(sql, quote + 1)
        if string is None:
            return "unclosed", "a string", len(sql)
        return STRING, string.group()[:-1], string.end()
    unicode_name = _UNICODE_NAME.match(sql, at)
    quote = unicode_name.end() if unicode_name else at
    if sql.startswith('"', quote):
        name = _NAME.match(sql, quote + 1)
        if name is None:
            return "unclosed", "a quoted name", len(sql)
        return QUOTED, name.group()[:-1].replace('""', '"'), name.end()
    return None


def _plain(sql: str, at: int) -> tuple[str, str, int]:
    word = _WORD.match(sql, at)
    if word:
        return WORD, word.group(), word.end()
    number = _NUMBER.match(sql, at)
    if number:
        return NUMBER, number.group(), number.end()
    if sql.startswith("::", at):
        return SYMBOL, "::", at + 2
    return SYMBOL, sql[at], at + 1


class Words:
    """A walk through the tokens of a statement."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = list(tokens)
        self.at = 0

    @property
    def rest(self) -> list[Token]:
        """What was not walked over yet."""
        return self.tokens[self.at :]

    def sees(self, *words: str) -> bool:
        """Whether these words come next."""
        ahead = self.rest[: len(words)]
        return len(ahead) == len(words) and all(
            token.kind == WORD and token.text == word
            for token, word in zip(ahead, words, strict=True)
        )

    def eats(self, *words: str) -> bool:
        """Walk over these words when they come next."""
        if not self.sees(*words):
            return False
        self.at += len(words)
        return True

    def eats_one_of(self, *words: str) -> str:
        """Walk over one of these words; return it, or nothing."""
        return next((word for word in words if self.eats(word)), "")

    def name(self) -> str:
        """Walk over a name, with or without a schema; that of the schema ``public`` is left out."""
        parts: list[str] = []
        while self.rest and self.rest[0].kind in (WORD, QUOTED):
            parts.append(self.rest[0].text)
            self.at += 1
            if self.rest[:1] != [DOT]:
                break
            self.at += 1
        return ".".join(parts[1:] if parts[:1] == ["public"] else parts)

    def names(self) -> list[str]:
        """Walk over names with commas between them."""
        found = [self.name()]
        while self.rest[:1] == [COMMA]:
            self.at += 1
            found.append(self.name())
        return [name for name in found if name]

    def skips_to(self, word: str) -> bool:
        """Walk to behind the next such word that stands in no parentheses."""
        for offset, token in enumerate(outer(self.rest)):
            if token is not None and (token.kind, token.text) == (WORD, word):
                self.at += offset + 1
                return True
        return False


def outer(tokens: Sequence[Token]) -> list[Token | None]:
    """Return the tokens, with nothing in place of what stands in parentheses."""
    depth = 0
    found: list[Token | None] = []
    for token in tokens:
        if token == CLOSE:
            depth -= 1
        found.append(token if depth == 0 else None)
        if token == OPEN:
            depth += 1
    return found


def outer_words(tokens: Sequence[Token]) -> list[str]:
    """Return the words that stand in no parentheses."""
    return [one.text for one in outer(tokens) if one is not None and one.kind == WORD]


def parts(tokens: Sequence[Token]) -> list[list[Token]]:
    """Cut at the commas that stand in no parentheses."""
    found: list[list[Token]] = [[]]
    for token, seen in zip(tokens, outer(tokens), strict=True):
        if seen == COMMA:
            found.append([])
        else:
            found[-1].append(token)
    return found


def calls(tokens: Sequence[Token]) -> list[str]:
    """Return what stands before a parenthesis: the functions that are called, and some types."""
    return [
        before.text
        for before, after in pairwise(tokens)
        if after == OPEN and before.kind in (WORD, QUOTED)
    ]


def names_after(tokens: Sequence[Token], word: str) -> list[str]:
    """Return the name that follows each occurrence of a word, in parentheses or not."""
    return [
        Words(tokens[at + 1 :]).name()
        for at, token in enumerate(tokens)
        if (token.kind, token.text) == (WORD, word)
    ]
