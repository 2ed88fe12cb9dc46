// The console. What others have written (questions, answers, errors) goes into the page as text only.

const $ = (id) => document.getElementById(id);
const REFRESH_MS = 3000;
/** The live numbers are those of about the last minute. */
const WINDOW_MS = 60_000;

const settings = await (await fetch('/console/settings.json')).json();
const { links } = settings;
const admin = reachable(links.admin);

/** The admin port of a machine's own loopback is no business of a page that another machine has served. */
function reachable(url) {
  const loopback = (host) => host === 'localhost' || host === '[::1]' || host.startsWith('127.');
  return url && (!loopback(new URL(url).hostname) || loopback(location.hostname)) ? url : null;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function link(text, href) {
  return element('a', text, { href, target: '_blank', rel: 'noopener noreferrer' });
}

// ---- links

const TOOLS = { grafana: 'Grafana', jaeger: 'Jaeger', prometheus: 'Prometheus', kibana: 'Kibana' };
for (const [key, name] of Object.entries(TOOLS)) if (links[key]) $('tools').append(link(name, links[key]));

/** Where the tools show this request. */
function requestLinks({ traceId, requestId, tenant }) {
  const q = encodeURIComponent;
  // A tenant or id inside a query is quoted as the query's language has it, then as the URL has it.
  const quoted = (text) => JSON.stringify(text);
  const rate = `sum by (status) (rate(agent_requests_total{tenant_id=${quoted(tenant)}}[5m]))`;
  const kuery = `request_id:${quoted(requestId)}`;
  return [
    links.jaeger && traceId && ['Trace in Jaeger', `${links.jaeger}/trace/${q(traceId)}`],
    links.grafana && ['Dashboard in Grafana', `${links.grafana}/d/agent-overview`],
    links.prometheus && ["Tenant's rate in Prometheus", `${links.prometheus}/graph?g0.expr=${q(rate)}&g0.tab=0`],
    links.kibana && requestId && ['Log lines in Kibana',
      `${links.kibana}/app/discover#/?_a=(query:(language:kuery,query:'${q(kuery)}'))`],
  ].filter(Boolean);
}

// ---- ask

$('ask').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [tenant, question] = [$('tenant').value, $('question').value];
  $('send').disabled = true;
  $('send').textContent = 'Asking …';
  try {
    const response = await fetch('/v1/query', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ tenant_id: tenant, query: question, stream: true }),
    });
    const streamed = response.headers.get('content-type') === 'text/event-stream';
    const outcome = streamed ? await showWhileMade(response) : await response.json();
    show(tenant, response, outcome);
  } catch (error) {
    showResult('The agent did not answer', error.message, true);
  } finally {
    $('send').disabled = false;
    $('send').textContent = 'Ask';
  }
});

/** Shows an answer as it arrives, and returns what follows its text: the facts, or the error. */
async function showWhileMade(response) {
  showResult('Answering …', '', false);
  let answer = '';
  for await (const { event, data } of events(response)) {
    if (event !== 'delta') return event === 'done' ? { ...data, answer } : data;
    answer += data.text;
    $('answer').textContent = answer;
  }
  throw new Error('its answer broke off');
}

/** The server-sent events of a response: each has a line `event: …` and a line `data: …`. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const complete = (text + chunk.value).split('\n\n');
    text = complete.pop();
    for (const lines of complete) {
      const [event, data] = lines.split('\n').map((line) => line.slice(line.indexOf(': ') + 2));
      yield { event, data: JSON.parse(data) };
    }
  }
}

function show(tenant, response, body) {
  const traceId = response.headers.get('x-trace-id');
  // A stream that fails has begun with status 200.
  const facts = !body.error
    ? { Model: body.model, Tokens: body.tokens, Cost: dollars(body.cost_usd), Cached: body.cached ? 'yes' : 'no' }
    : { Status: response.ok ? null : response.status, Type: body.error.type, Field: body.error.field };
  facts.Request = body.request_id;
  facts.Trace = traceId;
  if (!body.error) showResult('Answer', body.answer || '(an empty answer)', false);
  else showResult('Not answered', body.error.message, true);
  for (const [name, value] of Object.entries(facts)) {
    if (value !== null && value !== undefined) $('facts').append(element('dt', name), element('dd', value));
  }
  for (const [text, href] of requestLinks({ traceId, requestId: body.request_id, tenant })) {
    const item = element('li', '');
    item.append(link(text, href));
    $('links').append(item);
  }
}

function showResult(title, text, failed) {
  $('outcome').textContent = title;
  $('answer').textContent = text;
  $('facts').replaceChildren();
  $('links').replaceChildren();
  $('result').classList.toggle('failed', failed);
  $('result').hidden = false;
}

function dollars(usd) {
  if (usd === 0) return '0 USD';
  return `${usd >= 0.01 ? usd.toFixed(2) : usd.toPrecision(2)} USD`;
}

async function loadTenants() {
  const { tenants } = await (await adminFetch('/tenants')).json();
  const select = element('select', '', { id: 'tenant', required: '' });
  for (const { id, tier } of tenants) select.append(element('option', `${id} (${tier})`, { value: id }));
  $('tenant-field').replaceChildren(select);
}

// ---- the admin port: faults and live numbers

async function adminFetch(path, options = {}) {
  const response = await fetch(admin + path, { cache: 'no-store', ...options });
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error(body?.error?.message ?? `status ${response.status}`);
  }
  return response;
}

const switches = [...document.querySelectorAll('[data-fault]')];
const NORMAL = { extra_latency_seconds: 0, error_ratio: 0, hang_ratio: 0, cache_off: false, cost_factor: 1, append_to_answer: '' };

function showFaults(faults) {
  for (const input of switches) input.checked = faults[input.dataset.fault] !== NORMAL[input.dataset.fault];
  const on = switches.filter((input) => input.checked).length;
  $('switches').disabled = false;
  $('all-off').disabled = on === 0;
  const left = faults.expires_in_seconds;
  const end = left === null ? 'until switched off' : `for ${left > 90 ? `${Math.ceil(left / 60)} min` : `${left} s`} more`;
  notice(on === 0 ? '' : `${on} ${on === 1 ? 'fault is' : 'faults are'} on, ${end}.`);
}

function notice(text) {
  $('faults-state').textContent = text;
  $('faults-state').hidden = text === '';
}

let changes = 0;

async function getFaults() {
  return (await adminFetch('/faults')).json();
}

/** Sends what `options` makes of the faults in force, and shows what has become of it. */
async function changeFaults(options) {
  changes += 1;
  try {
    showFaults(await (await adminFetch('/faults', options(await getFaults()))).json());
  } catch (error) {
    await refreshFaults().catch(() => {});
    notice(`The faults could not be changed: ${error.message}`);
  } finally {
    changes += 1;
  }
}

async function refreshFaults() {
  const before = changes;
  const faults = await getFaults();
  // What was asked before a change and answered after it would turn the switches back.
  if (changes === before) showFaults(faults);
}

for (const input of switches) {
  input.addEventListener('change', () => {
    const key = input.dataset.fault;
    const on = typeof NORMAL[key] === 'string' ? input.dataset.on : JSON.parse(input.dataset.on);
    const change = {
      [key]: input.checked ? on : NORMAL[key],
      expires_in_seconds: $('expiry').value === '' ? null : Number($('expiry').value),
    };
    // What somebody else has set to other values stays as it is.
    changeFaults((faults) => ({
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...faults, ...change }),
    }));
  });
}
$('all-off').addEventListener('click', () => changeFaults(() => ({ method: 'DELETE' })));
$('faults').addEventListener('submit', (event) => event.preventDefault());

/** Sums of the series of `/metrics` that the numbers are made of. */
function totals(text) {
  const sums = { success: 0, error: 0, hit: 0, miss: 0, cost: 0, connections: 0, buckets: new Map(), at: performance.now() };
  const label = (labels, name) => new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(labels)?.[1];
  for (const line of text.split('\n')) {
    const [, name, labels = '', value] = /^(agent_\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    const number = Number(value);
    if (name === 'agent_requests_total' && label(labels, 'status') in sums) sums[label(labels, 'status')] += number;
    if (name === 'agent_cache_requests_total') sums[label(labels, 'result')] += number;
    if (name === 'agent_api_cost_usd_total') sums.cost += number;
    if (name === 'agent_active_connections') sums.connections = number;
    if (name === 'agent_request_duration_seconds_bucket' && label(labels, 'status') === 'success') {
      const bound = label(labels, 'le') === '+Inf' ? Infinity : Number(label(labels, 'le'));
      sums.buckets.set(bound, (sums.buckets.get(bound) ?? 0) + number);
    }
  }
  return sums;
}

/** The 95th percentile as Prometheus would have it: linear within its bucket, and the last bound beyond it. */
function p95(first, last) {
  const counts = [...last.buckets].sort(([a], [b]) => a - b).map(([bound, n]) => [bound, n - (first.buckets.get(bound) ?? 0)]);
  const rank = 0.95 * (counts.at(-1)?.[1] ?? 0);
  let [below, under] = [0, 0];
  for (const [bound, count] of counts) {
    if (rank > 0 && count >= rank) {
      return bound === Infinity ? `> ${below} s` : `${(below + (bound - below) * (rank - under) / (count - under)).toFixed(2)} s`;
    }
    [below, under] = [bound, count];
  }
  return '–';
}

let samples = [];

function showNumbers(sample) {
  const previous = samples.at(-1);
  // Counters that have shrunk are those of another process.
  if (previous && previous.success + previous.error > sample.success + sample.error) samples = [];
  samples = [...samples.filter(({ at }) => sample.at - at <= WINDOW_MS), sample];
  const first = samples[0];
  $('connections').textContent = sample.connections;
  if (samples.length < 2) return;
  const seconds = (sample.at - first.at) / 1000;
  const grown = (key) => sample[key] - first[key];
  const percent = (part, whole) => (whole > 0 ? `${(100 * part / whole).toFixed(1)} %` : '–');
  const requests = grown('success') + grown('error');
  $('rate').textContent = `${(requests / seconds).toFixed(2)} /s`;
  $('errors').textContent = percent(grown('error'), requests);
  $('p95').textContent = p95(first, sample);
  $('hits').textContent = percent(grown('hit'), grown('hit') + grown('miss'));
  // The same addends in another order can be a trifle less.
  const cost = Math.max(0, grown('cost'));
  $('cost').textContent = `${(cost / seconds * 3600).toFixed(2)} USD/h`;
}

let tenantsLoaded = false;

async function refresh() {
  try {
    showNumbers(totals(await (await adminFetch('/metrics')).text()));
    await refreshFaults();
    if (!tenantsLoaded) await loadTenants();
    tenantsLoaded = true;
    $('live-state').textContent = 'Of the last minute, refreshed every 3 s';
  } catch (error) {
    $('switches').disabled = true;
    $('live-state').textContent = `The admin port (${admin}) does not answer this page: ${error.message}`;
  }
}

async function keepRefreshing() {
  if (!document.hidden) await refresh();
  setTimeout(keepRefreshing, REFRESH_MS);
}

if (admin) {
  await keepRefreshing();
} else {
  $('live').hidden = true;
  $('live-state').textContent = 'Faults and live numbers are on the admin port, which this page cannot reach from here.';
}
