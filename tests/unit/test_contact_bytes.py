"""What firmware writes beside a press costs no press: ends of C texts, line ends, numbers that are none. Cut stays unread."""

from __future__ import annotations

import json
import time

import pytest

from drivers.contacts.formats import CODECS, liveness
from drivers.contacts.formats.document import read_object
from gateway.domain.contact import Signal, SignalKind
from gateway.domain.errors import Malformed

#: One press, or one closing, of each format, as a document and as a bare word.
SAID = [
    ("gateway", b'{"event":"pressed"}'),
    ("zigbee2mqtt", b'{"action":"emergency"}'),
    ("zigbee2mqtt", b'{"contact":true}'),
    ("tasmota", b'{"Switch1":{"Action":"ON"}}'),
    ("tasmota", b"ON"),
    ("tasmota", b"10"),
    ("shelly-gen1", b'{"event":"S","event_cnt":7}'),
    ("shelly-gen1", b"1"),
    ("shelly-gen1", b"close"),
    ("shelly-gen2", b'{"id":0,"state":true}'),
]
BEHIND = [
    b"\x00",
    b"\x00\x00\x00",
    b"\r\n",
    b"\n\x00",
    b" \t",
    b"\x00\r\n",
    b"\x00of the buffer",
    b"\x00\xff\xfe",
]


@pytest.mark.parametrize(("format_", "payload"), SAID)
@pytest.mark.parametrize("behind", BEHIND)
def test_what_lies_behind_a_payload_is_dropped(format_: str, payload: bytes, behind: bytes) -> None:
    """Firmware that publishes `strlen + 1` bytes, a line, or its whole buffer says the same as one that does not."""
    assert CODECS[format_](payload + behind) == CODECS[format_](payload)


@pytest.mark.parametrize(("format_", "payload"), SAID)
@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n", b" ", b"\x00"])
def test_what_lies_before_a_payload_is_dropped(format_: str, payload: bytes, before: bytes) -> None:
    """The same in front, the mark of UTF-8 included."""
    assert CODECS[format_](before + payload) == CODECS[format_](payload)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_nul_in_every_letter_ends_nothing(encoding: str) -> None:
    """A document in UTF-16 is still one."""
    assert read_object('{"event":"pressed"}'.encode(encoding)) == {"event": "pressed"}


@pytest.mark.parametrize("behind", [b"", *BEHIND])
@pytest.mark.parametrize(
    ("payload", "online"),
    [
        (b"online", True),
        (b"Offline", False),
        (b'{"state":"online"}', True),
        (b"false", False),
        (b'"1"', True),
    ],
)
def test_liveness_is_read_the_same_way(payload: bytes, behind: bytes, online: bool) -> None:
    """A last will with the end of its text is the last will."""
    assert liveness.decode(payload + behind) is online


def test_an_end_of_text_alone_takes_a_kept_word_back() -> None:
    """An empty C text is an empty payload."""
    assert liveness.decode(b"\x00") is None


@pytest.mark.parametrize(
    "odd",
    [
        *(
            "nan",
            "NaN",
            "NAN",
            "-nan",
            "nan(0x7ff8)",
            "inf",
            "-inf",
            "Inf",
            "+inf",
            "Infinity",
            "-Infinity",
            "INF",
        ),
        *("1.#QNAN", "-1.#IND", "1.#INF", "undefined", "None", "", " "),
    ],
)
def test_a_number_that_is_none_costs_no_press(odd: str) -> None:
    """What `printf` and others write where a sensor answers nothing is no value; the switch beside it is read."""
    said = (
        f'{{"Time":"2018-10-23T23:47:58","Switch1":"ON","DHT11":{{"Temperature":{odd},"Humidity":{odd}}},'
        f'"All":[{odd.strip() or "nan"},1],"Name":"nan, inf","TempUnit":"C"}}'
    )
    (signal,) = CODECS["tasmota"](said.encode())
    assert (signal.kind, signal.input) == (SignalKind.CLOSED, "Switch1")
    document = read_object(said.encode())
    assert (document["DHT11"], document["Name"]) == ({"Temperature": None, "Humidity": None}, "nan, inf")


#: What firmware writes where JSON has a number or a truth, and what is read of it.
SPELLED: list[tuple[str, object]] = [
    ("085", 85),
    ("-007", -7),
    ("+5", 5),
    ("00", 0),
    ("00.50", 0.5),
    ("12,5", 12.5),
    ("-0,05", -0.05),
    ("-.5", None),
    ("3.", None),
    ("1e", None),
    ("0x1F", None),
    ("-", None),
    ("--", None),
    ("---.-", None),
    ("**", None),
    ("####", None),
    ("12:30", None),
    ("2018-10-23T23:47:58", None),
    ("97%", None),
    ("192.168.1.20", None),
    ("9" * 5000, None),
    ("True", True),
    ("FALSE", False),
    ("NULL", None),
    ("nil", None),
    ("N/A", None),
    ("ovf", None),
    ("'a \"b\" c'", 'a "b" c'),
    ("'it\\'s'", "it's"),
    (r'"a\q"', r"a\q"),
    (r'"C:\new\x41"', "C:\new\\x41"),
    (r'"\u12"', r"\u12"),
]


@pytest.mark.parametrize(("odd", "read"), SPELLED, ids=[row[0][:20] for row in SPELLED])
@pytest.mark.parametrize("behind", ["}", ',"more":[1,2,"x, 085"]}'])
def test_what_is_spelled_otherwise_costs_no_press(odd: str, read: object, behind: str) -> None:
    """`%03d`, a comma of another country, Python's truths and quotes: what can be read is, the rest is no value."""
    payload = (f'{{"event":"pressed","odd":{odd}' + behind).encode()
    (signal,) = CODECS["gateway"](payload)
    assert signal.kind is SignalKind.PRESSED
    document = read_object(payload)
    assert document["odd"] == read
    assert document.get("more", [1, 2, "x, 085"]) == [1, 2, "x, 085"]


@pytest.mark.parametrize(
    "payload",
    [
        b"{'event': 'pressed', 'battery': 97}",
        b'{event:"pressed",battery:97}',
        b'{ event : "pressed" , battery:097}',
        b'"{\\"event\\":\\"pressed\\",\\"battery\\":97}"',
        b'\x02{"event":"pressed","battery":97}\x03',
        b'{"event":"pressed","battery":97}\x1a',
        b'{"event":"pressed","event":"","battery":97,"battery":null}',
    ],
)
def test_a_document_spelled_or_wrapped_otherwise_is_read(payload: bytes) -> None:
    """Names without quotes, a document in a text, a frame of a serial line, a name said twice."""
    (signal,) = CODECS["gateway"](payload)
    assert (signal.kind, signal.battery) == (SignalKind.PRESSED, 97)


@pytest.mark.parametrize("wrapped", [b'"{\\"Switch1\\":{\\"Action\\":\\"ON\\"}}"'])
def test_a_wrapped_document_is_no_bare_word(wrapped: bytes) -> None:
    """Where a bare word may come as well."""
    (signal,) = CODECS["tasmota"](wrapped)
    assert (signal.kind, signal.input) == (SignalKind.CLOSED, "Switch1")


@pytest.mark.parametrize(
    "payload", [b'{"action":emergency}', b'{"action":1_single}', b'{"action":emergency,"battery":085}']
)
def test_a_bare_word_in_a_document_is_never_dropped_in_silence(payload: bytes) -> None:
    """It might have been the press: it is told, as what was not understood."""
    with pytest.raises(Malformed):
        CODECS["zigbee2mqtt"](payload)


@pytest.mark.parametrize("format_", sorted(CODECS))
@pytest.mark.parametrize("odd", ["nan", "-inf", "NaN", "1e999"])
def test_a_battery_that_is_no_number_is_left_out(format_: str, odd: str) -> None:
    """In every format: the document is read, and no battery of it."""
    said = (
        f'{{"event":"pressed","action":"single","id":1,"state":true,"battery":{odd},"bat":{{"value":{odd}}}}}'
    )
    signals: list[Signal] = CODECS[format_](said.encode())
    assert [signal.battery for signal in signals] == [None] * len(signals)


@pytest.mark.parametrize(
    "payload",
    [
        '{"event":"pressed","name":"三层东"}'.encode("gbk"),
        b'{"event":"pressed","name":"a\tb"}',
        b'{"event":"pressed","battery":97,}',
    ],
)
def test_an_odd_text_beside_a_press_costs_no_press(payload: bytes) -> None:
    """Letters in the encoding of Windows, a tab in a name, a comma too many."""
    (signal,) = CODECS["gateway"](payload)
    assert signal.kind is SignalKind.PRESSED


def test_letters_that_are_none_in_any_encoding_are_not_guessed() -> None:
    """A byte was changed on its way, and what else was is not known."""
    for payload in (
        b'{"event":"pressed","name":"\xff"}',
        b'{"event":"pressed","id":"\xff1"}',
        b'{"e\xffent":"pressed"}',
    ):
        with pytest.raises(Malformed):
            CODECS["gateway"](payload)


def test_blanks_without_end_are_no_payload() -> None:
    """A buffer behind a text has an end; what is longer than any contact's payload is refused unread."""
    assert CODECS["shelly-gen1"](b"1" + b"\0" * 4095) == CODECS["shelly-gen1"](b"1")
    for format_, said in SAID:
        with pytest.raises(Malformed, match="bytes"):
            CODECS[format_](said + b" " * 66_000)


@pytest.mark.parametrize("format_", sorted(CODECS))
@pytest.mark.parametrize(
    "payload",
    [
        b'{"Time":"2018-10-23T23:47:58","Switch1":"ON","DHT11":{"Temperature":nan',
        b'{"event":"pressed"',
        b'{"event":"pressed","battery":',
        b'{"action":"emer',
        b'{"action":"emergency","battery":nan\x00}',
        b'{"event":nan',
        b'{"event":"pressed"}{"event":"released"}',
    ],
)
def test_a_document_that_was_cut_stays_unread(format_: str, payload: bytes) -> None:
    """It is kept to be looked at, and never guessed."""
    with pytest.raises(Malformed):
        CODECS[format_](payload)


@pytest.mark.parametrize(
    "piece",
    [
        '"\\',
        "nan(",
        ":  ",
        ",",
        "nan,",
        '"',
        "-",
        "1.#",
        "'",
        "'\\\\",
        "0",
        "0,",
        ":0",
        "{a",
        ",a ",
        "#.",
        "\\u",
    ],
)
def test_no_payload_takes_long_to_refuse(piece: str) -> None:
    """What fills holes reads each letter once, whatever a stranger sends."""
    payload = ("{" + piece * (60_000 // len(piece)) + "}").encode()
    began_s = time.process_time()
    with pytest.raises(Malformed):
        read_object(payload)
    assert time.process_time() - began_s < 1.0


def test_texts_are_left_as_they_are() -> None:
    """A hole is filled between texts, never in one."""
    said = {"a": 'x" nan', "b": ":,}", "c": "inf", "nan": None}
    text = json.dumps(said).replace("null", "nan")
    assert read_object(text.encode()) == said
