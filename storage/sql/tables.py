"""The schema, commented: this file is authoritative, the migrations lead to it (a test holds them together). It is
to be read as a whole, so it is one file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect

metadata = MetaData()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as whole microseconds since 1970 UTC: exact, sortable, the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


# What contacts said and was admitted. One row per admitted press; until they are settled also one (without an alarm) per
# message that only changed what is remembered of its source.
inbox = Table(
    "inbox",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("identity", Text, unique=True),  # source + the hardware's own id; NULL where it gives none
    Column("topic", Text, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the payload
    Column("mid", Integer, nullable=False),  # MQTT packet id, to know a redelivery
    Column(
        "settled", Boolean, nullable=False
    ),  # the broker has our acknowledgement, for it used the id again
    Column("arrived_at", Instant, nullable=False),
    Column("alarm", Text),
    Index("inbox_by_content", "topic", "digest", "arrived_at"),
)
Index("inbox_unsettled", inbox.c.mid, sqlite_where=inbox.c.settled.is_(False))

# What was last seen of each contact, so that an edge during our absence still counts.
contact_memory = Table(
    "contact_memory",
    metadata,
    Column("source", Text, primary_key=True),
    Column("closed", Boolean),
    Column("down", Boolean, nullable=False),
    Column("tail_until", Instant),
    Column("freed_until", Instant),
    Column("counter", BigInteger),
    Column("counted_at", Instant),
    Column("more", Text),  # JSON object: its last push, its flags and words (remembered.py)
)

# What each contact last told of itself, so that silence, a battery and an opened housing are known after a restart.
contact_seen = Table(
    "contact_seen",
    metadata,
    Column("point", Text, primary_key=True),
    Column("at", Instant),
    Column("battery", Integer),
    Column("battery_low", Boolean, nullable=False),
    Column("tamper_at", Instant),
    Column("tampered", Boolean, nullable=False),
    Column("test_at", Instant),
    Column("qos", Integer),
    Column("heard_s", Float, nullable=False),  # what listening.seconds was then
    Column("heard_at", Instant),
    Column("unread_at", Instant),
    Column("unread", Text),
    Column("source", Text),
)

# One row: for how long the broker was listened to, over all runs. Silence is counted on this clock.
listening = Table(
    "listening",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("seconds", Float, nullable=False),
)

# Messages no codec could read: kept to be looked at, never tried again.
quarantine = Table(
    "quarantine",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("head", LargeBinary, nullable=False),  # the first KiB
)

alarm = Table(
    "alarm",
    metadata,
    Column("id", Text, primary_key=True),
    Column("point", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("pressed_at", Instant, nullable=False),
    Column("raised_at", Instant, nullable=False),
    Column("last_press_at", Instant, nullable=False),
    Column("window_ends_at", Instant, nullable=False),
    Column("cameras", Text, nullable=False),  # JSON array: the map as it was at the press
    Column("presses", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("manifest_revision", Integer, nullable=False),
    Column("manifest_due_at", Instant),
    Column("during_next_at", Instant),
    Column("during_until", Instant),
    Column("escalated_at", Instant),
    Column("closed_at", Instant),
    Column("drill", Text),  # NULL: an alarm; else the kind of exercise, and the id begins with drl_
    Index("alarm_by_time", "raised_at", "id"),
    Index("alarm_manifest_due", "manifest_due_at"),
    Index("alarm_during_next", "during_next_at"),
)
# At most one open alarm a point: the database itself refuses a doubled alarm. An open drill never stands in its way.
Index(
    "alarm_open",
    alarm.c.point,
    unique=True,
    sqlite_where=(alarm.c.state != "closed") & alarm.c.drill.is_(None),
)

# A technician's arming of one point: its next press is a drill, if the centre knows by then.
drill_window = Table(
    "drill_window",
    metadata,
    Column("id", Text, primary_key=True),
    Column("point", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("armed_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("received_at", Instant),  # when the centre had drill.window
    Column("ended_by", Text),  # the drill or alarm that the next press became
    Index("drill_window_by_point", "point", "until"),
)

# Who looked at what, and what was done to the record. Lines are appended and never changed; `leaf` is RFC 6962's hash of `body`.
register = Table(
    "register",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("act", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Index("register_by_time", "at"),
    Index("register_by_act", "act"),
)
# One row: the tree's frontier, so that appending does not read the whole register.
register_tree = Table(
    "register_tree",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),  # 32 bytes each, the largest subtree's first
)

# What was recorded round the clock: one row a file, in the object store under `key`.
segment = Table(
    "segment",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("camera", Text, nullable=False),
    Column("start", Instant, nullable=False),
    Column("end", Instant, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("sha256", Text, nullable=False),
    Column("stored_at", Instant, nullable=False),
    Column("quality", Text, nullable=False),
    Column("version", Text),  # the store's, where it keeps versions
    Column("locked_until", Instant),  # proved, not promised
    Column("reckoned_end", Instant),  # by no single clock: not due before both this and `end`
    Index("segment_by_camera", "camera", "start"),
    Index("segment_by_end", "end"),
    Index("segment_by_lock", "locked_until"),
)
# What should have been recorded and was not, and why. `end` is NULL while it lasts.
gap = Table(
    "gap",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("camera", Text, nullable=False),
    Column("start", Instant, nullable=False),
    Column("end", Instant),
    Column("cause", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(
        "gap_by_end", "camera", "end"
    ),  # rows stay for ever, and what is asked for is nearly always the newest
)
# One gap of a camera lasts at most.
Index("gap_open", gap.c.camera, unique=True, sqlite_where=gap.c.end.is_(None))
# Sums of `segment` by camera and hour (UTC), kept in the same transaction: a month of 32 cameras is asked for in one look.
coverage = Table(
    "coverage",
    metadata,
    Column("camera", Text, primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("covered_ms", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
# From when on each camera is recorded, and since when no more: the ledger's own bounds. Outlives the camera in the site file.
recorded = Table(
    "recorded",
    metadata,
    Column("camera", Text, primary_key=True),
    Column("since", Instant, nullable=False),
    Column("until", Instant),
)
# Reasons to keep longer. A row is never removed; releasing fills the last four columns.
hold = Table(
    "hold",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("reason", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    Column("placed_unit", Text, nullable=False),
    Column("placed_at", Instant, nullable=False),
    Column("review_at", Instant, nullable=False),
    Column("alarm", Text),
    Column("camera", Text),
    Column("start", Instant),
    Column("end", Instant),
    Column("released_at", Instant),
    Column("released_by", Text),
    Column("released_unit", Text),
    Column("released_reason", Text),
    Index("hold_by_alarm", "alarm"),
)
# What is being deleted or was, in batches: the list itself is compressed, its SHA-256 stands in the register. A row is written
# before the first object goes; `register_line` once all are gone, in the transaction that takes out their rows.
deletion = Table(
    "deletion",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", Instant, nullable=False),
    Column("camera", Text),
    Column("alarm", Text),
    Column("start", Instant, nullable=False),
    Column("end", Instant, nullable=False),
    Column("count", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("items", LargeBinary, nullable=False),  # zlib of JSON lines: key, sha256, version, start, end
    Column("items_sha256", Text, nullable=False),  # of the JSON lines
    Column("register_line", Integer),
    # All that tells which rows a span needs: a row is some 3 kB, and there are a thousand a day.
    Index("deletion_by_span", "end", "start", "camera", "register_line"),
)
Index("deletion_pending", deletion.c.n, sqlite_where=deletion.c.register_line.is_(None))
# One row: how late it is at least, as far as more than one clock has said so (gateway/domain/trust.py).
trusted_time = Table(
    "trusted_time",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("reckoned", Instant, nullable=False),
    Column("granted_s", Float, nullable=False),
    Column("confirmed_at", Instant),
    Column("confirmed_by", Text, nullable=False),
    Column("unsure_since", Instant),  # the first reading of `reckoned` that a start made uncertain
)

timeline = Table(
    "timeline",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("alarm", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("what", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON object
    Index("timeline_by_alarm", "alarm", "n"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("alarm", Text, nullable=False),
    Column("camera", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("moment", Text, nullable=False),
    Column("start", Instant, nullable=False),
    Column("end", Instant, nullable=False),
    Column("state", Text, nullable=False),
    Column("wanted_start", Instant),
    Column("wanted_end", Instant),
    Column("request", Text),
    Column("taken_at", Instant),
    Column("offset_ms", Integer),
    Column("clock", Text),
    Column("source", Text),
    Column("media_type", Text),
    Column("bytes", BigInteger),
    Column("sha256", Text),
    Column("key", Text),
    Column("stored_at", Instant),
    Column("uploaded_at", Instant),
    Column("reason", Text),
    Column("told_at", Instant),  # when alarm.evidence was made for it
    Column("version", Text),  # the store's, where it keeps versions
    Column("locked_until", Instant),  # proved, not promised
    Index("evidence_by_alarm", "alarm", "n"),
    Index("evidence_by_key", "key", unique=True),
    Index("evidence_by_state", "state", "n"),
    Index("evidence_by_upload", "uploaded_at", "stored_at"),
)

Index(
    "evidence_untold",
    evidence.c.n,
    sqlite_where=evidence.c.stored_at.is_not(None) & evidence.c.told_at.is_(None),
)

message = Table(
    "message",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("subject", Text),
    Column("sequence", Integer),
    Column("body", LargeBinary, nullable=False),  # never changes
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_attempt_at", Instant),
    Column("received_at", Instant),
    Column("superseded", Boolean, nullable=False),
    Index("message_by_subject", "subject", "sequence"),
)
Index(
    "message_pending",
    message.c.n,
    sqlite_where=(message.c.received_at.is_(None)) & (message.c.superseded.is_(False)),
)

attempt = Table(
    "attempt",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("message", Text, nullable=False),  # or the item of evidence whose PUT it was (path "media")
    Column("path", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("took_ms", Integer, nullable=False),
    Column("status", Integer),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("attempt_by_message", "message", "n"),
)

fault = Table(
    "fault",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("cleared_at", Instant),
)
Index("fault_open", fault.c.kind, fault.c.subject, unique=True, sqlite_where=fault.c.cleared_at.is_(None))

request = Table(
    "request",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("alarm", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("camera", Text, nullable=False),
    Column("operator", Text, nullable=False),  # JSON object
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("evidence", Text),
    Column("ok", Boolean),
    Column("result", Text, nullable=False),
    Column("item", Text),  # the answer item it came as; NULL if the centre called
    UniqueConstraint("id"),
    Index("request_by_alarm", "alarm", "n"),
)

# Replies and requests that came in answer bodies, by the centre's own ids: an item given again is known by its row.
answer_item = Table(
    "answer_item",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),  # SHA-256 of the item, to know another one under the same id
    Column("kind", Text, nullable=False),
    Column("alarm", Text),
    Column("seen_at", Instant, nullable=False),  # when it last came
    Column("ok", Boolean, nullable=False),
    Column("reason", Text),  # why it was not applied
    Column("state", Text),  # the alarm's, after it
    Column("request", Text),
    Column("told", Boolean, nullable=False),  # whether a heartbeat with its outcome was received
    Index("answer_item_by_time", "seen_at"),
)
Index("answer_item_untold", answer_item.c.seen_at, sqlite_where=answer_item.c.told.is_(False))
