"""A small LLM service with the kit's telemetry: `POST /v1/summaries` has a model summarise a text.

What there is to learn from it is on the page docs/instrumenting.md, which is made of pieces of these files.
"""

import json
import logging
import os
import time
import traceback
import uuid
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from pydantic import BaseModel

import telemetry
from telemetry import COST, DURATION, ENDPOINT, ERRORS, IN_FLIGHT, REQUESTS, TENANTS, TOKENS

MODEL = os.environ.get("LLM_MODEL", "sim-small")
PROVIDER = os.environ.get("LLM_BASE_URL", "http://127.0.0.1:8081/v1")
# What the model costs, in US dollars for a million tokens.
INPUT_PRICE, OUTPUT_PRICE = 0.15, 0.6
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}

log = logging.getLogger("summaries")
tracer = trace.get_tracer("summaries")


class Failure(Exception):
    """Ours or the provider's. Its first argument is one of telemetry.ERROR_TYPES, its second says why."""


class Text(BaseModel):
    tenant_id: str
    text: str


class RequestLog:
    """What is known of a request, and told of it: on its span, in its lines, in the metrics."""

    def __init__(self, span: Span, method: str, endpoint: str) -> None:
        context = span.get_span_context()
        self.id, self.span, self.method = str(uuid.uuid4()), span, method if method in METHODS else "other"
        self.started, self.cost, self.error = time.perf_counter(), 0.0, None
        self.fields = {
            "request_id": self.id,
            "tenant_id": "other",
            "tenant_tier": "none",
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "endpoint": endpoint,
        }
        span.set_attributes({"request.id": self.id, "http.request.method": self.method, "http.route": endpoint})

    def line(self, level: int, event: str, **fields: object) -> None:
        # The caller's place in the sources is that of whoever called this.
        log.log(level, event, extra={**self.fields, **fields}, stacklevel=2)

    def identify(self, tenant: str, text: str) -> None:
        self.fields.update(tenant_id=tenant, tenant_tier=TENANTS[tenant])
        self.span.set_attributes({"tenant.id": tenant, "tenant.tier": TENANTS[tenant], "query.length": len(text)})
        self.line(logging.INFO, "request started", query_preview=text[:100], query_length=len(text))

    def fails(self, error: Failure) -> None:
        self.error, message = error.args
        stack = "".join(traceback.format_exception(error))
        fields = {"error_type": self.error, "error_message": message, "error_stack": stack, "context": "call_llm"}
        self.line(logging.ERROR, "request failed", **fields)
        failed(self.span, error)

    def end(self, status_code: int) -> None:
        seconds = time.perf_counter() - self.started
        status = "success" if status_code < 400 else "error" if status_code >= 500 else "rejected"
        tenant, endpoint = self.fields["tenant_id"], self.fields["endpoint"]
        REQUESTS.labels(self.method, endpoint, status, tenant).inc()
        # From a slow bucket to one of its traces. Not with several workers: the library keeps no exemplars for them.
        exemplar = {"trace_id": self.fields["trace_id"]} if self.span.get_span_context().trace_flags.sampled else None
        DURATION.labels(self.method, endpoint, status, tenant).observe(seconds, exemplar)
        fields = {"status": status, "duration_seconds": seconds, "cached": False, "cost_usd": self.cost}
        if status == "error":
            ERRORS.labels(self.error or "internal", tenant).inc()
            fields["error_type"] = self.error or "internal"
        self.span.set_attribute("http.response.status_code", status_code)
        self.line(logging.WARNING if status == "error" else logging.INFO, "request completed", **fields)


def failed(span: Span, error: Failure) -> None:
    """Marks a span as failed: its status, its `error.type`, and the exception."""
    error_type, message = error.args
    span.set_status(Status(StatusCode.ERROR, message))
    span.set_attribute("error.type", error_type)
    stack = "".join(traceback.format_exception(error))
    exception = {"exception.type": error_type, "exception.message": message, "exception.stacktrace": stack}
    span.add_event("exception", exception)


@asynccontextmanager
async def lifespan(_: FastAPI):
    listener, traces = telemetry.start_logs(), telemetry.start_traces()
    telemetry.make_series(MODEL)
    app.state.http = httpx.AsyncClient(timeout=30, trust_env=False)
    yield
    # What is queued would be lost otherwise.
    traces.shutdown()
    listener.stop()


# FastAPI would make spans, metrics and log records of its own beside ours.
OWN = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
app = FastAPI(openapi_url=None, lifespan=lifespan, telemetry=OWN)


@app.middleware("http")
async def observe(http: Request, call_next) -> Response:
    # The admin side: a scrape is no request of a caller.
    if http.url.path in ("/metrics", "/healthz"):
        return await call_next(http)
    endpoint = ENDPOINT if http.url.path == ENDPOINT else "other"
    caller = propagate.extract(http.headers)
    with (
        IN_FLIGHT.track_inprogress(),
        tracer.start_as_current_span(
            "process_request", caller, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span,
    ):
        request = http.state.request = RequestLog(span, http.method, endpoint)
        try:
            response = await call_next(http)
        except Exception as error:
            request.fails(Failure("internal", str(error)))
            response = JSONResponse({"error": {"type": "internal"}, "request_id": request.id}, 500)
        request.end(response.status_code)
    response.headers["x-request-id"] = request.id
    response.headers["x-trace-id"] = request.fields["trace_id"]
    return response


@app.post(ENDPOINT)
async def summarise(body: Text, http: Request) -> Response:
    request: RequestLog = http.state.request
    if body.tenant_id not in TENANTS:
        return JSONResponse({"error": {"type": "unknown_tenant"}, "request_id": request.id}, 403)
    request.identify(body.tenant_id, body.text)
    try:
        summary, tokens = await call_llm(request, body.text)
    except Failure as error:
        request.fails(error)
        return JSONResponse({"error": {"type": error.args[0]}, "request_id": request.id}, 502)
    body = {"request_id": request.id, "summary": summary, "tokens": tokens, "cost_usd": request.cost}
    return JSONResponse(body)


async def call_llm(request: RequestLog, text: str) -> tuple[str, int]:
    """Has the model summarise a text, in a span of its own below the request's."""
    tenant, provider, started = request.fields["tenant_id"], urlsplit(PROVIDER), time.perf_counter()
    attributes = {
        "llm.model": MODEL,
        "llm.attempt": 1,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "server.address": provider.hostname,
        "server.port": provider.port or (443 if provider.scheme == "https" else 80),
    }
    with tracer.start_as_current_span(
        "call_llm", kind=SpanKind.CLIENT, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            answer, model, usage = await ask(text)
        except Failure as error:
            failed(span, error)
            raise
        read, written = usage["prompt_tokens"], usage["completion_tokens"]
        cost, seconds = (read * INPUT_PRICE + written * OUTPUT_PRICE) / 1e6, time.perf_counter() - started
        request.cost += cost
        TOKENS.labels(MODEL, tenant, "input").inc(read)
        TOKENS.labels(MODEL, tenant, "output").inc(written)
        COST.labels(MODEL, tenant).inc(cost)
        span.set_attribute("gen_ai.response.model", model)
        span.set_attributes({"gen_ai.usage.input_tokens": read, "gen_ai.usage.output_tokens": written})
        request.line(
            logging.INFO,
            "llm call completed",
            model=MODEL,
            input_tokens=read,
            output_tokens=written,
            tokens=read + written,
            cost_usd=cost,
            # Without streaming the first text is the whole.
            ttft_seconds=seconds,
            duration_seconds=seconds,
            usage_estimated=False,
        )
        return answer, read + written


async def ask(text: str) -> tuple[str, str, dict]:
    # The provider's own spans come below the current one.
    headers: dict[str, str] = {}
    propagate.inject(headers)
    question = {"role": "user", "content": f"Summarise in one sentence: {text}"}
    try:
        response = await app.state.http.post(
            f"{PROVIDER.rstrip('/')}/chat/completions", json={"model": MODEL, "messages": [question]}, headers=headers
        )
    except httpx.TimeoutException as error:
        raise Failure("upstream_timeout", "the model's provider took too long") from error
    except httpx.HTTPError as error:
        raise Failure("upstream_unavailable", "the model's provider does not answer") from error
    if response.status_code == 429:
        raise Failure("upstream_rate_limited", "the model's provider refuses: its rate limit is reached")
    if response.status_code != 200:
        raise Failure("upstream_error", f"the model's provider answered with status {response.status_code}")
    try:
        body = response.json()
        return body["choices"][0]["message"]["content"], body["model"], body["usage"]
    except (json.JSONDecodeError, LookupError, TypeError) as error:
        raise Failure("upstream_invalid_response", "the model's answer cannot be understood") from error


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/metrics")
async def metrics(http: Request) -> Response:
    text, content_type = telemetry.metrics_text(http.headers.get("accept", ""))
    return Response(text, headers={"content-type": content_type})
