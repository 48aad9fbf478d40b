// Shows /ui/state and asks for it again every two seconds while somebody can see the page.

import { draw, element } from "./charts.js";

const EVERY_MS = 2000;
const LATE_MS = 8000;
const MINUTE = 60;

const place = (id) => document.getElementById(id);
const numbers = (digits) => new Intl.NumberFormat(undefined, { maximumFractionDigits: digits });
const whole = numbers(0);
const tenths = numbers(1);
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD" });
const moment = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

let timer = null;
let asking = false;

const count = (value) => (value < 10 ? tenths : whole).format(value);

function duration(seconds) {
  if (seconds < 60) return `${seconds < 10 ? tenths.format(seconds) : whole.format(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${whole.format(Math.floor(seconds % 60))} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

const latency = (ms) => (ms === null ? "–" : ms < 1000 ? `${whole.format(ms)} ms` : duration(ms / 1000));
const ratio = (share) => (share === null ? "–" : percent.format(share));

function put(id, text) {
  const found = place(id);
  if (found.textContent !== text) found.textContent = text;
}

// Rows are made anew only when something in them has changed: text may be selected in them.
function rows(id, cells, none) {
  const table = place(id);
  const wanted = JSON.stringify(cells);
  if (table.dataset.shown === wanted) return;
  table.dataset.shown = wanted;
  const heads = [...table.querySelectorAll("thead th")];
  const made = cells.map((row) => element("tr", { role: "row" }, ...row.map((cell, at) => {
    const { text, style = "" } = typeof cell === "string" ? { text: cell } : cell;
    const fields = { role: "cell", class: `${heads[at].className} ${style}`.trim() };
    return element("td", { ...fields, "data-label": heads[at].textContent }, text);
  })));
  table.querySelector("tbody").replaceChildren(...made);
  table.hidden = Boolean(none) && cells.length === 0;
  if (none) none.hidden = cells.length > 0;
}

const MOOD = { ok: "good", degraded: "fair", draining: "fair", down: "bad" };

function showHead({ health, at }) {
  put("version", health.version);
  put("status", health.status);
  place("status").className = `badge ${MOOD[health.status] ?? ""}`;
  put("uptime", `up ${duration(health.uptime_s)}`);
  put("freshness", `as of ${moment.format(at * 1000)}`);
  put("problem", "");
  document.body.classList.remove("stale");
}

function showTiles(state) {
  const { recent, money } = state;
  const answering = state.open.filter((one) => one.stage === "answering").length;
  put("open", whole.format(state.everything ? state.open_total : state.open.length));
  put("open-note", `${answering} being answered`);
  put("queue", whole.format(state.queued));
  put("queue-note", state.queued ? "all slots are taken" : "no queue");
  put("speed", count(state.tokens_per_s));
  put("first", latency(recent.p50_ms));
  put("first-note", recent.p50_ms === null
    ? "no answer in 15 minutes" : `median of 15 minutes; 95 %: ${latency(recent.p95_ms)}`);
  put("hits", ratio(recent.hit_ratio));
  put("hits-note", `of 15 minutes; ${ratio(state.hit_ratio)} of ${whole.format(state.requests)} in all`);
  put("failed", whole.format(recent.failed.reduce((sum, value) => sum + value, 0)));
  for (const tile of document.querySelectorAll(".money")) tile.hidden = !state.everything;
  const least = money && !money.complete ? "at least " : "";
  put("today", money ? least + dollars.format(money.today_usd) : "–");
  put("month", money ? least + dollars.format(money.month_usd) : "–");
  put("today-note", money ? `${dollars.format(money.usd_per_hour)} an hour now` : state.money_problem || "unknown");
  put("month-note", money ? `rented machines, days of ${money.timezone}` : "");
}

function showRequests(state) {
  rows("requests", state.open.map((one) => [
    one.model || "–",
    one.cache && one.cache !== "miss" ? `${one.stage} (${one.cache})` : one.stage,
    duration(one.age_s),
    whole.format(one.tokens),
    one.tokens_per_s === null ? "–" : tenths.format(one.tokens_per_s),
    one.tenant,
  ]), place("requests-none"));
  document.title = `${state.open.length ? `${state.open.length} open · ` : ""}llmctl`;
}

function showParts({ health }) {
  const well = (part) => (part.healthy
    ? { text: "well", style: "good" } : { text: "down", style: "bad" });
  rows("backends", health.backends.map((backend) => [
    { text: backend.name, style: "id" },
    backend.healthy && backend.cooldown_s
      ? { text: `left alone for ${duration(backend.cooldown_s)}`, style: "fair" } : well(backend),
    [backend.models.join(", "), backend.detail].filter(Boolean).join("; ") || "–",
    whole.format(backend.in_flight),
    whole.format(backend.queued),
  ]));
  const { cache, ledger, semantic, tunnels = [] } = health;
  const parts = [[`cache (${cache.kind})`, well(cache),
    cache.detail || (cache.entries === null ? "" : `${whole.format(cache.entries)} answers`)]];
  if (semantic) parts.push(["semantic cache", well(semantic), semantic.detail ?? ""]);
  if (ledger) parts.push(["ledger", well(ledger), ledger.detail || `${whole.format(ledger.written)} rows written`]);
  for (const tunnel of tunnels) {
    const style = { up: "good", down: "bad" }[tunnel.state] ?? "fair";
    const trip = tunnel.round_trip_ms === null ? "" : `round trip ${latency(tunnel.round_trip_ms)}`;
    parts.push([`tunnel ${tunnel.name}`, { text: tunnel.state, style }, tunnel.detail || trip]);
  }
  rows("parts", parts);
}

function showFailures(state) {
  rows("failures", state.failures.map((one) => [
    moment.format(one.at * 1000),
    { text: `${one.status} ${one.type}`, style: "bad" },
    one.message || "–",
    one.model || "–",
    { text: one.request_id, style: "id" },
  ]), place("failures-none"));
}

// One row a minute, which is what a table can hold: [time, first series, second series, …]
function byMinute({ began, step_s: step }, series, merge) {
  const size = MINUTE / step;
  const found = [];
  for (let at = 0; at < series[0].values.length; at += size) {
    found.push([began + at * step, ...series.map((line) => merge(line.values.slice(at, at + size)))]);
  }
  return found;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;
const most = (values) => values.reduce((high, value) => (value === null ? high : Math.max(high ?? 0, value)), null);

function showCharts({ recent, tokens_per_s: speed }) {
  const shared = { began: recent.began, step: recent.step_s };
  const made = [{ name: "made by engines", style: "blue", values: recent.tokens_per_s }];
  draw(place("chart-speed"), {
    ...shared, title: "Tokens per second", unit: "tokens/s", tableUnit: "tokens/s", least: 10, series: made, text: count,
    summary: `Now ${count(speed)}; at most ${count(Math.max(...recent.tokens_per_s))}.`,
    rows: byMinute(recent, made, mean),
  });
  const answered = [
    { name: "from the cache", style: "green", bars: true, values: recent.cached },
    { name: "by an engine", style: "blue", bars: true, values: recent.engine },
    { name: "failed", style: "red", bars: true, values: recent.failed },
  ];
  draw(place("chart-requests"), {
    ...shared, title: "Requests", unit: `requests in ${recent.step_s} s`, tableUnit: "in a minute", least: 4, series: answered, text: count,
    summary: answered.map((line) => `${whole.format(sum(line.values))} ${line.name}`).join(", "),
    rows: byMinute(recent, answered, sum),
  });
  const seconds = (values) => values.map((value) => (value === null ? null : value / 1000));
  const latencies = [
    { name: "median", style: "blue", values: seconds(recent.first_token_p50_ms) },
    { name: "95 %", style: "amber", dash: true, values: seconds(recent.first_token_p95_ms) },
  ];
  draw(place("chart-first"), {
    ...shared, title: "Time to first token", unit: "seconds", tableUnit: "s", least: 0.1, series: latencies,
    text: (value) => numbers(value < 1 ? 2 : 1).format(value),
    summary: `Median ${latency(recent.p50_ms)}, 95 % within ${latency(recent.p95_ms)}.`,
    rows: byMinute(recent, latencies, most),
  });
}

function show(state) {
  for (const part of [showHead, showTiles, showRequests, showParts, showFailures, showCharts]) part(state);
}

function complain(text, ...more) {
  document.body.classList.add("stale");
  put("status", "no answer");
  place("status").className = "badge bad";
  place("problem").replaceChildren(text, ...more);
}

async function ask() {
  const answer = await fetch("/ui/state", { cache: "no-store", signal: AbortSignal.timeout(LATE_MS) });
  if (answer.status === 401) {
    complain("You are logged out. ", element("a", { href: "/ui/login" }, "Log in again"));
    return false;
  }
  if (!answer.ok) throw new Error(`it answers with ${answer.status}`);
  show(await answer.json());
  return true;
}

async function look() {
  if (asking || document.hidden) return;
  asking = true;
  clearTimeout(timer);
  let again = true;
  try {
    again = await ask();
  } catch (failure) {
    complain(`No figures from llmctl serve: ${failure.message}. Trying again.`);
  } finally {
    asking = false;
  }
  if (again && !document.hidden) timer = setTimeout(look, EVERY_MS);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  look();
});

place("logout").addEventListener("click", async () => {
  await fetch("/ui/logout", { method: "POST" });
  location.replace("/ui/login");
});

look();
