// The bar of counters, and the messages about what is away.

import { byId, h, refill, setText } from "./dom.js";
import { countCells, state, total } from "./state.js";
import { bandsWorstFirst, bandSymbol, count, fullTime, ui, word } from "./words.js";

const POINTS = 60;
const LATE_EVENTS = 500; // the read model may trail the stream by so many before the page says so
const rates = [];

export function drawHeader() {
  const summary = state.summary;
  const open = countCells(() => true);
  const holds = countCells((kind) => kind === "price_hold").red;
  setText(byId("n-records"), summary ? count(summary.records_per_s) : "–");
  setText(byId("n-events"), summary ? String(summary.events_per_s) : "–");
  for (const band of bandsWorstFirst) setText(byId(`n-${band}`), count(open[band]));
  setText(byId("n-total"), count(total(open)));
  setText(byId("n-holds"), count(holds));
  byId("holds").classList.toggle("calls", holds > 0);
  setText(byId("n-lag"), summary ? count(summary.lag_records) : "–");
  setText(byId("n-lag-s"), summary ? `${summary.lag_seconds < 10 ? summary.lag_seconds.toFixed(1) : count(summary.lag_seconds)} s` : "");
  drawConnection();
  drawFaults();
  document.title = total(open) ? `${bandSymbol.red} ${count(open.red)} · ${ui("title")}` : ui("title");
}

function drawConnection() {
  const element = byId("connection");
  const sound = state.summary?.redis.ok && state.summary?.broker.ok;
  const shown = state.connection === "live" && !sound && state.summary ? "faulty" : state.connection;
  element.dataset.state = shown;
  const at = state.summary ? fullTime(state.summary.at).split(" ").pop() : "";
  setText(byId("connection-text"), state.connection === "live" ? `${ui("live")} ${at}` : ui(state.connection));
}

let shownFaults = "";

function drawFaults() {
  const faults = [];
  const summary = state.summary;
  if (state.connection === "stalled") {
    const at = state.lastHeard ? fullTime(new Date(state.lastHeard).toISOString()) : "–";
    faults.push(["fault", ui("gateway_away", { at })]);
  } else if (summary) {
    if (!summary.redis.ok) faults.push(["fault", ui("redis_away", { where: summary.redis.where })]);
    if (!summary.broker.ok) faults.push(["fault", ui("broker_away", { where: summary.broker.where })]);
    if (summary.read_model_lag > LATE_EVENTS) faults.push(["fault", ui("read_model_late", { n: count(summary.read_model_lag) })]);
    if (summary.redis.ok && !summary.workers.length) faults.push(["fault", ui("no_worker")]);
    if (state.loadProblem && summary.redis.ok) faults.push(["fault", ui("load_failed", { what: state.loadProblem })]);
  }
  if (summary?.simulated?.simulated) {
    const { seed = "–", rate = "–" } = summary.simulated;
    faults.push(["simulated", ui("simulated", { seed, rate })]);
  }
  const now = JSON.stringify(faults);
  if (now === shownFaults) return;
  shownFaults = now;
  refill(
    byId("notices"),
    faults.map(([kind, text]) =>
      h("p", { class: `notice ${kind}` }, h("span", { class: "sign", "aria-hidden": "true" }, kind === "fault" ? "!" : "◌"), text),
    ),
  );
}

// A line of the last minute's records per second. Drawn once a second.
export function drawRate() {
  if (!state.summary) return;
  rates.push(state.summary.records_per_s);
  if (rates.length > POINTS) rates.shift();
  const most = Math.max(1, ...rates);
  const points = rates.map((rate, index) => `${(index + POINTS - rates.length) * 2},${22 - (rate / most) * 20}`);
  byId("rate-line").setAttribute("points", points.join(" "));
}

export function bandMark(band) {
  return h("span", { class: `mark ${band ?? "none"}`, title: word("band", band ?? "none") }, band ? bandSymbol[band] : "○");
}
