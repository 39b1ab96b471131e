"""The file of secrets: what is read of it, and that a line is refused rather than left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.environment import EnvironmentRefused, read_environment, readable_by_all


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"A=b\n", {"A": "b"}),
        (b"A=b", {"A": "b"}),
        (b"", {}),
        (b"\xef\xbb\xbfA=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
        (b"# A=b\n; C=d\n\n  \nE=f\n", {"E": "f"}),
        (b"  A=b  \n", {"A": "b"}),
        (b"A = b\n", {"A": "b"}),
        (b"A=\n", {"A": ""}),
        (b'A=""\n', {"A": ""}),
        (b"A='b c'\n", {"A": "b c"}),
        (b'A="b \\"c\\" \\\\d"\n', {"A": 'b "c" \\d'}),
        (b"A='b\\c\"d'\n", {"A": 'b\\c"d'}),
        (b"A=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw==\n", {"A": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=="}),
        (b"A=b#c d;e $HOME `x`\n", {"A": "b#c d;e $HOME `x`"}),
        ("A=密码\n".encode(), {"A": "密码"}),
        (b"_1=x\n", {"_1": "x"}),
    ],
)
def test_what_systemd_takes_is_read(tmp_path: Path, text: bytes, found: dict[str, str]) -> None:
    """Comments, blanks, quotes; no shell."""
    file = tmp_path / "secrets.env"
    file.write_bytes(text)
    assert read_environment(file) == found


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"A=b\nsecretvalue\n", 2, "no '='"),
        (b"export A=secretvalue\n", 1, "shell"),
        (b"1A=secretvalue\n", 1, "name"),
        (b"A-B=secretvalue\n", 1, "name"),
        (b"=secretvalue\n", 1, "name"),
        (b"A: secretvalue=\n", 1, "name"),
        (b"A=b\nB=c\nA=secretvalue\n", 3, "twice"),
        (b"A=secretvalue\\\nmore\n", 1, "one line"),
        (b"A='secretvalue\n", 1, "does not end"),
        (b'A="secretvalue\\"\n', 1, "does not end"),
        (b'A="secret"value"\n', 1, "double quotes"),
        (b"A='secret'value'\n", 1, "single quotes"),
        (b'A="secret"value\n', 1, "does not end"),
        (b"A=secret\\value\n", 1, "single quotes"),
    ],
)
def test_what_systemd_would_leave_out_is_refused(tmp_path: Path, text: bytes, line: int, words: str) -> None:
    """By its line, with what to do, and without what may be a secret."""
    file = tmp_path / "secrets.env"
    file.write_bytes(text)
    with pytest.raises(EnvironmentRefused) as refused:
        read_environment(file)
    assert str(refused.value).startswith(f"{file}:{line}: ")
    assert words in str(refused.value)
    assert "secretvalue" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"A=\xff\xfe", "UTF-8"), (b"A=b\0", "NUL"), (b"A=" + b"x" * 70_000, "larger")],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    """Another character set, a binary, a picture."""
    file = tmp_path / "secrets.env"
    file.write_bytes(data)
    with pytest.raises(EnvironmentRefused, match=words):
        read_environment(file)


def test_a_file_that_cannot_be_read_says_who_can_change_that(tmp_path: Path) -> None:
    """Closed; where nothing is, or a folder, its owner could change nothing: the path is asked for."""
    for path in (tmp_path / "none", tmp_path, tmp_path / "none" / "below"):
        with pytest.raises(EnvironmentRefused, match="is the path of --env-file right"):
            read_environment(path)
    closed = tmp_path / "closed"
    closed.write_text("A=b\n")
    closed.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(EnvironmentRefused, match="chown"):
            read_environment(closed)
    assert not readable_by_all(closed)
    closed.chmod(0o644)
    assert readable_by_all(closed)
