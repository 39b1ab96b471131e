"""Logs and metrics: how they are set up and rendered; no logic."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence

from gateway.domain.camera import CameraHealth
from gateway.domain.uplink import PathHealth

# structlog would import rich, which another library brought, for colours that a box in a cupboard shows nobody; it costs a
# quarter of the time until the gateway is armed.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
import structlog  # noqa: E402

if sys.modules["rich"] is None:
    del sys.modules["rich"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


def set_up_logging(level: str = "info", *, pretty: bool = False) -> None:
    """One JSON object a line on standard error, or readable lines where a person looks on."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if pretty
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")


Sample = tuple[str, str, str, list[tuple[dict[str, str], float]]]


def samples(
    *,
    armed: bool,
    presses: int,
    quarantined: int,
    undelivered: int,
    paths: Sequence[PathHealth],
    cameras: Mapping[str, CameraHealth],
    fault_kinds: Sequence[str],
) -> list[Sample]:
    """What ``/metrics`` tells. No label holds anything secret or unbounded."""
    return [
        ("campus_armed", "gauge", "1 while a press would be committed.", [({}, float(armed))]),
        ("campus_presses", "counter", "Presses admitted.", [({}, float(presses))]),
        (
            "campus_quarantined",
            "counter",
            "Contact messages nobody could read.",
            [({}, float(quarantined))],
        ),
        (
            "campus_undelivered",
            "gauge",
            "Messages the centre has not received.",
            [({}, float(undelivered))],
        ),
        (
            "campus_received",
            "counter",
            "Messages received by the centre, by path.",
            [({"path": p.name}, float(p.received_total)) for p in paths],
        ),
        (
            "campus_attempts_failed",
            "counter",
            "Attempts that failed, by path.",
            [({"path": p.name}, float(p.failed_total)) for p in paths],
        ),
        (
            "campus_camera_healthy",
            "gauge",
            "1 while frames arrive.",
            [({"camera": c}, float(h.healthy)) for c, h in cameras.items()],
        ),
        (
            "campus_camera_ring_bytes",
            "gauge",
            "Bytes of video the ring holds.",
            [({"camera": c}, float(h.ring_bytes)) for c, h in cameras.items()],
        ),
        (
            "campus_faults",
            "gauge",
            "Open faults, by kind.",
            [
                ({"kind": k}, float(sum(1 for kind in fault_kinds if kind == k)))
                for k in sorted(set(fault_kinds))
            ],
        ),
    ]


def prometheus_text(samples: Iterable[Sample]) -> bytes:
    """The Prometheus text format of ``(name, type, help, [(labels, value)])``."""
    # Imported when first asked for: a gateway nobody scrapes does not pay for it at its start.
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    class Once:
        def collect(self) -> Iterable[Metric]:
            for name, kind, text, values in samples:
                labels = list(values[0][0]) if values else []
                family: CounterMetricFamily | GaugeMetricFamily
                if kind == "counter":
                    family = CounterMetricFamily(name, text, labels=labels)
                else:
                    family = GaugeMetricFamily(name, text, labels=labels)
                for labelled, value in values:
                    family.add_metric([labelled[label] for label in labels], value)
                yield family

    registry = CollectorRegistry()
    registry.register(Once())
    return generate_latest(registry)
