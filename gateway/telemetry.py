"""Logs and metrics: how they are set up and rendered; no logic."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

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
