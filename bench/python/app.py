"""The agent's question endpoint as it would be in Python: FastAPI, prometheus_client, OpenTelemetry, JSON logs.

It does for a question what the Rust agent does: checks it, looks into a cache, asks the model, counts, logs, traces. It is
here to be measured beside it; see docs/benchmarks.md.
"""

import json
import logging
import os
import sys
import time
import uuid

import httpx
from cachetools import TTLCache
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, Field
from pythonjsonlogger.json import JsonFormatter

MODEL = "sim-small"
TENANTS = {"acme": "vip", "globex": "standard", "initech": "standard", "umbrella": "standard", "hooli": "free"}
FORBIDDEN = ("password dump", "credit card numbers", "social security number")
ENDPOINT = "/v1/query"
PROVIDER = os.environ.get("LLM_BASE_URL", "http://127.0.0.1:8081/v1")

REQUESTS = Counter("agent_requests", "Requests by outcome.", ["method", "endpoint", "status", "tenant_id"])
DURATION = Histogram(
    "agent_request_duration_seconds",
    "Wall time of a request in seconds.",
    ["method", "endpoint", "tenant_id"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10),
)
CACHE_REQUESTS = Counter("agent_cache_requests", "Cache look-ups.", ["cache_type", "result", "tenant_id"])
IN_FLIGHT = Gauge("agent_requests_in_flight", "Questions that are worked on.")
TOKENS = Counter("agent_llm_tokens", "Tokens as the provider reports them.", ["model", "tenant_id", "direction"])
COST = Counter("agent_api_cost_usd", "Cost of the provider's calls.", ["model", "tenant_id"])

provider = TracerProvider(
    resource=Resource.create({"service.name": "python-agent"}), sampler=ParentBased(TraceIdRatioBased(0.1))
)
if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=1000))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("python-agent")

handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
log = logging.getLogger("agent")
log.addHandler(handler)
log.setLevel(logging.INFO)
log.propagate = False

# FastAPI would make spans, metrics and log records of its own beside these: twice the telemetry is no fair comparison.
OWN = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
app = FastAPI(openapi_url=None, telemetry=OWN)
cache: TTLCache = TTLCache(maxsize=10_000, ttl=300)
client = httpx.AsyncClient(trust_env=False)


class Question(BaseModel):
    tenant_id: str = Field(min_length=1, max_length=64)
    query: str = Field(min_length=1, max_length=8000)


async def call_llm(query: str) -> tuple[str, int, int]:
    headers: dict[str, str] = {}
    propagate.inject(headers)
    body = {
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": query}],
    }
    response = await client.post(f"{PROVIDER}/chat/completions", json=body, headers=headers)
    response.raise_for_status()
    text, usage = [], {}
    for line in response.text.splitlines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        chunk = json.loads(line[6:])
        text += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
        usage = chunk.get("usage") or usage
    return "".join(text), usage["prompt_tokens"], usage["completion_tokens"]


@app.post(ENDPOINT)
async def query(question: Question, request: Request) -> Response:
    started = time.perf_counter()
    request_id = str(uuid.uuid4())
    tenant, text = question.tenant_id, question.query
    if tenant not in TENANTS:
        REQUESTS.labels("POST", ENDPOINT, "rejected", "other").inc()
        return JSONResponse({"error": {"type": "unknown_tenant"}, "request_id": request_id}, 403)
    parent = propagate.extract(request.headers)
    with IN_FLIGHT.track_inprogress(), tracer.start_as_current_span(
        "process_request", context=parent, kind=SpanKind.SERVER
    ) as span:
        context = span.get_span_context()
        trace_id = f"{context.trace_id:032x}"
        for name, value in (("tenant.id", tenant), ("query.length", len(text)), ("request.id", request_id)):
            span.set_attribute(name, value)
        fields = {
            "request_id": request_id,
            "tenant_id": tenant,
            "tenant_tier": TENANTS[tenant],
            "trace_id": trace_id,
            "span_id": f"{context.span_id:016x}",
            "endpoint": ENDPOINT,
        }
        log.info("request started", extra={**fields, "query_preview": text[:100], "query_length": len(text)})
        with tracer.start_as_current_span("check_compliance"):
            folded = text.casefold()
            violates = any(words in folded for words in FORBIDDEN)
        if violates:
            REQUESTS.labels("POST", ENDPOINT, "rejected", tenant).inc()
            return JSONResponse({"error": {"type": "compliance_violation"}, "request_id": request_id}, 422)
        with tracer.start_as_current_span("check_cache") as step:
            key = (tenant, MODEL, " ".join(text.split()))
            answer = cache.get(key)
            cached = answer is not None
            step.set_attribute("cache.hit", cached)
        CACHE_REQUESTS.labels("response", "hit" if cached else "miss", tenant).inc()
        tokens, cost = 0, 0.0
        if cached:
            log.info("cache hit", extra={**fields, "cache_type": "response"})
        else:
            with tracer.start_as_current_span("call_llm", kind=SpanKind.CLIENT) as step:
                answer, read, written = await call_llm(text)
                step.set_attribute("llm.model", MODEL)
            tokens, cost = read + written, (read * 0.15 + written * 0.6) / 1e6
            TOKENS.labels(MODEL, tenant, "input").inc(read)
            TOKENS.labels(MODEL, tenant, "output").inc(written)
            COST.labels(MODEL, tenant).inc(cost)
            log.info(
                "llm call completed",
                extra={**fields, "model": MODEL, "input_tokens": read, "output_tokens": written, "cost_usd": cost},
            )
            cache[key] = answer
        seconds = time.perf_counter() - started
        exemplar = {"trace_id": trace_id} if context.trace_flags.sampled else None
        REQUESTS.labels("POST", ENDPOINT, "success", tenant).inc()
        DURATION.labels("POST", ENDPOINT, tenant).observe(seconds, exemplar)
        log.info(
            "request completed",
            extra={**fields, "status": "success", "duration_seconds": seconds, "cached": cached, "cost_usd": cost},
        )
    body = {
        "request_id": request_id,
        "answer": answer,
        "model": MODEL,
        "tokens": tokens,
        "cost_usd": cost,
        "cached": cached,
    }
    return JSONResponse(body, headers={"x-request-id": request_id, "x-trace-id": trace_id})


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/metrics")
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
