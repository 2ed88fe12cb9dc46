"""Metrics, log lines and spans as docs/metrics.md, docs/logs.md and docs/traces.md have them."""

import json
import logging
import logging.handlers
import os
import queue
import socket
import sys
from datetime import UTC, datetime

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

VERSION = "0.1.0"
SERVICE = os.environ.get("OTEL_SERVICE_NAME", "summaries")
# Who may ask, and the tier each is in. Whoever else asks is `other` in every label: labels must be bounded.
TENANTS = {"acme": "vip", "globex": "standard", "initech": "free"}
ENDPOINT = "/v1/summaries"
STATUSES = ("success", "error", "rejected")
ERROR_TYPES = (
    "upstream_unavailable",
    "upstream_timeout",
    "upstream_rate_limited",
    "upstream_error",
    "upstream_invalid_response",
    "internal",
)

# The library would show when each series began, as a series of its own: twice as many, which nobody reads.
disable_created_metrics()
# A counter's name is shown with `_total`, whether it is declared with it or not.
REQUESTS = Counter("agent_requests", "Requests by outcome.", ["method", "endpoint", "status", "tenant_id"])
DURATION = Histogram(
    "agent_request_duration_seconds",
    "Wall time of a request in seconds.",
    ["method", "endpoint", "status", "tenant_id"],
    # The same in every service: a histogram over several of them is made of sums, bucket by bucket.
    # 2 is there for the alert on the 95th percentile.
    buckets=(0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10),
)
ERRORS = Counter("agent_errors", "Requests with status error, by what went wrong.", ["error_type", "tenant_id"])
TOKENS = Counter("agent_llm_tokens", "Tokens as the provider reports them.", ["model", "tenant_id", "direction"])
COST = Counter("agent_api_cost_usd", "Cost of the provider's calls in US dollars.", ["model", "tenant_id"])
LOST_LINES = Counter("agent_log_lines_dropped", "Log lines lost because the queue was full.")
# With several worker processes a gauge has to say what becomes of their values: here their sum, of those that live.
IN_FLIGHT = Gauge("agent_requests_in_flight", "Requests that are worked on.", multiprocess_mode="livesum")
BUILD_INFO = Gauge("agent_build_info", "Always 1; the version is in the label.", ["version"], multiprocess_mode="max")


def make_series(model: str) -> None:
    """Makes the series that can be known: rate() cannot see the first increase of a series that begins with it."""
    BUILD_INFO.labels(VERSION).set(1)
    for tenant in TENANTS:
        for status in STATUSES:
            REQUESTS.labels("POST", ENDPOINT, status, tenant)
        for error_type in ERROR_TYPES:
            ERRORS.labels(error_type, tenant)
        for direction in ("input", "output"):
            TOKENS.labels(model, tenant, direction)
        COST.labels(model, tenant)


def metrics_text(accept: str) -> tuple[bytes, str]:
    """What Prometheus reads, and its content type: OpenMetrics where that is accepted, which has the exemplars.

    Of this process, or of all workers where PROMETHEUS_MULTIPROC_DIR names their folder.
    """
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class BunyanFormatter(logging.Formatter):
    """One JSON object a line, with the fields that stand on every line; `extra` becomes fields too."""

    LEVELS = {logging.DEBUG: 20, logging.INFO: 30, logging.WARNING: 40, logging.ERROR: 50, logging.CRITICAL: 50}
    OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "v": 0,
            "name": SERVICE,
            "msg": record.getMessage(),
            "level": self.LEVELS.get(record.levelno, 30),
            "hostname": socket.gethostname(),
            "pid": record.process,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "target": record.name,
            "file": record.filename,
            "line": record.lineno,
            "service_version": VERSION,
        }
        line.update({name: value for name, value in vars(record).items() if name not in self.OWN})
        return json.dumps(line, ensure_ascii=False)


class BoundedQueueHandler(logging.handlers.QueueHandler):
    """Never waits for whoever reads our output: what does not fit into the queue is lost, and counted."""

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            LOST_LINES.inc()


def start_logs() -> logging.handlers.QueueListener:
    """Begins to write lines, on a thread of their own. Stop the listener at the end: it writes what is queued."""
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(BunyanFormatter())
    lines = queue.Queue(maxsize=10_000)
    listener = logging.handlers.QueueListener(lines, output)
    log = logging.getLogger("summaries")
    log.addHandler(BoundedQueueHandler(lines))
    log.setLevel(logging.INFO)
    log.propagate = False
    listener.start()
    return listener


def start_traces() -> TracerProvider:
    """Begins to make spans; they go to OTEL_EXPORTER_OTLP_ENDPOINT, and nowhere without it. Shut it down at the end."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": SERVICE, "service.version": VERSION}),
        # Where the caller has decided, as it has; otherwise all. In production a ratio: TraceIdRatioBased(0.1).
        sampler=ParentBased(ALWAYS_ON),
    )
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        # Spans wait in a bounded queue of a thread; a collector that is away makes no request wait.
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider
