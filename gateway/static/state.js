// What the page knows: the last events, the open alerts, the counters, and what the operator has chosen.

import { bands, bandsWorstFirst, kinds, provinceCodes } from "./words.js";

export const STREAM_EVENTS = 2000; // kept for the live list; older ones fall off
export const OPEN_ALERTS = 5000; // kept for the worklist; more are a matter of filters
const SLOTS = 50000;

export const state = {
  events: [], // oldest first
  open: new Map(), // alert_id → last event
  matching: null, // open alerts that match on the server, as of the last load
  loadProblem: null,
  summary: null,
  cells: [], // [kind, province, band, number], words as indexes
  connection: "connecting",
  lastHeard: null,
  province: null,
  kind: null,
  band: null,
  search: "",
  view: "stream",
  order: "band",
  alert: null, // the id of the alert shown beside
};

// Which fields the address carries; everything else is of the moment.
const inHash = { alert: null, province: provinceCodes, kind: kinds, band: bands, search: null, view: ["stream", "open"] };

export function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, known] of Object.entries(inHash)) {
    const value = given.get(name);
    const fallback = name === "view" ? "stream" : name === "search" ? "" : null;
    state[name] = value && (!known || known.includes(value)) ? value : fallback;
  }
}

export function writeHash() {
  const kept = new URLSearchParams();
  for (const name of Object.keys(inHash)) {
    if (state[name] && !(name === "view" && state[name] === "stream")) kept.set(name, state[name]);
  }
  const hash = kept.size ? `#${kept}` : location.pathname + location.search;
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

// The latest revision of each slot, so that nothing counts twice and an old snapshot does not bring back what ended.
const latest = new Map();

function place(event) {
  const cut = event.alert_id.lastIndexOf(":");
  return [event.alert_id.slice(0, cut), Number(event.alert_id.slice(cut + 1)), event.revision];
}

function isNew(event, orEqual = false) {
  const [slot, opening, revision] = place(event);
  const last = latest.get(slot);
  if (last && (opening < last[0] || (opening === last[0] && (orEqual ? revision < last[1] : revision <= last[1])))) return false;
  latest.delete(slot);
  latest.set(slot, [opening, revision]);
  if (latest.size > SLOTS) latest.delete(latest.keys().next().value);
  return true;
}

export const isOpen = (event) => Boolean(event.band) && !["observed", "resolved", "closed"].includes(event.change);

// Takes an event of the live stream. False: it was here before.
export function takeEvent(event) {
  if (!isNew(event)) return false;
  state.events.push(event);
  if (state.events.length > STREAM_EVENTS * 1.2) state.events.splice(0, state.events.length - STREAM_EVENTS);
  if (isOpen(event)) state.open.set(event.alert_id, event);
  else state.open.delete(event.alert_id);
  if (state.open.size > OPEN_ALERTS * 1.1) dropMildest();
  return true;
}

const SETTLES_MS = 10000; // the server's list may trail the stream by so long

// Takes the open alerts as the server has them; what the stream brought in the meantime is newer.
export function takeOpen(alerts, asOf) {
  const kept = new Map();
  for (const alert of alerts) {
    const known = state.open.get(alert.alert_id);
    if (isNew(alert, true)) kept.set(alert.alert_id, alert);
    else if (known) kept.set(alert.alert_id, known);
  }
  for (const [id, alert] of state.open) if (alert.heardAt > asOf - SETTLES_MS && !kept.has(id)) kept.set(id, alert);
  state.open = kept;
}

export function forgetEverything() {
  state.events = [];
  state.open = new Map();
  latest.clear();
}

function dropMildest() {
  const sorted = [...state.open.values()].sort(orders.band);
  state.open = new Map(sorted.slice(0, OPEN_ALERTS).map((alert) => [alert.alert_id, alert]));
}

const rank = (event) => bands.indexOf(event.band);
const text = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
const newest = (one, other) => text(other.at, one.at);

export const orders = {
  band: (one, other) => rank(other) - rank(one) || newest(one, other),
  newest,
  due: (one, other) => text(one.due_at ?? "9", other.due_at ?? "9") || newest(one, other),
  excess: (one, other) => (other.excess_bp ?? -1e9) - (one.excess_bp ?? -1e9) || newest(one, other),
};

export function matches(event) {
  if (state.province && event.province !== state.province) return false;
  if (state.kind && event.kind !== state.kind) return false;
  if (state.band && event.band !== state.band && event.previous_band !== state.band) return false;
  return !state.search || (event.code ?? "").includes(state.search);
}

export const streamRows = () => state.events.filter(matches).reverse();

export function openRows() {
  const rows = [...state.open.values()].filter((event) => matches(event) && (!state.band || event.band === state.band));
  return rows.sort(orders[state.order]);
}

// Counts of open alerts per band, over the cells that pass.
export function countCells(passes) {
  const counts = { red: 0, yellow: 0, blue: 0 };
  for (const [kind, province, band, number] of state.cells) {
    if (passes(kinds[kind], provinceCodes[province], bands[band])) counts[bands[band]] += number;
  }
  return counts;
}

export const total = (counts) => bandsWorstFirst.reduce((sum, band) => sum + counts[band], 0);
export const worst = (counts) => bandsWorstFirst.find((band) => counts[band] > 0) ?? null;
