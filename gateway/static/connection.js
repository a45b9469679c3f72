// The live stream and the list of open alerts: connect, resume, and catch up after whatever was away.

import { ui } from "./words.js";
import { forgetEverything, state, takeEvent, takeOpen } from "./state.js";

const SILENT_MS = 6000; // counters come every second: this long without is a dead connection
const RETRY_MS = 1500;
const BACKLOG = 300;
const PAGES = 4;
const PAGE = 500;
const AGAIN_MS = 120000; // the worklist is read anew so often, whatever the stream said

let source = null;
let cursor = null;
let heardAt = 0;
let reconnecting = null;
let changed = () => {};
let loadNumber = 0;
let loadTimer = null;

export function connect(onChange) {
  changed = onChange;
  open();
  loadOpen();
  setInterval(watch, 1000);
}

// Filters changed: another stream with its own backlog, and another list.
export function restart() {
  cursor = null;
  state.events = [];
  forgetEverything();
  open();
  loadOpen();
}

function query() {
  const parameters = new URLSearchParams();
  for (const name of ["province", "kind", "band"]) if (state[name]) parameters.set(name, state[name]);
  return parameters;
}

function open() {
  clearTimeout(reconnecting);
  source?.close();
  const parameters = query();
  parameters.set("backlog", BACKLOG);
  if (cursor) parameters.set("after", cursor);
  source = new EventSource(`/events?${parameters}`);
  heardAt = Date.now();
  source.addEventListener("alert", (message) => {
    hear(message);
    const event = JSON.parse(message.data);
    event.heardAt = heardAt;
    if (takeEvent(event)) changed("event", event);
  });
  source.addEventListener("ready", hear);
  source.addEventListener("summary", (message) => {
    hear(message);
    state.summary = JSON.parse(message.data);
    changed("summary");
  });
  source.addEventListener("cells", (message) => {
    hear(message);
    state.cells = JSON.parse(message.data);
    changed("cells");
  });
  source.addEventListener("reset", () => {
    cursor = null;
    forgetEverything();
    loadOpen();
    changed("reset");
  });
  source.onerror = () => {
    say("stalled");
    if (source.readyState === EventSource.CLOSED) reopenSoon();
  };
}

function hear(message) {
  heardAt = Date.now();
  state.lastHeard = heardAt;
  if (message.lastEventId) cursor = message.lastEventId;
  if (state.connection !== "live") {
    const wasAway = state.connection === "stalled";
    say("live");
    if (wasAway) loadOpen();
  }
}

function say(connection) {
  state.connection = connection;
  changed("connection");
}

function reopenSoon() {
  clearTimeout(reconnecting);
  reconnecting = setTimeout(open, RETRY_MS);
}

function watch() {
  if (Date.now() - heardAt > SILENT_MS) {
    say("stalled");
    open();
  }
}

export async function loadOpen() {
  const mine = ++loadNumber;
  clearTimeout(loadTimer);
  loadTimer = setTimeout(loadOpen, AGAIN_MS);
  const asOf = Date.now();
  const alerts = [];
  let matching = null;
  try {
    let next = null;
    for (let page = 0; page < PAGES; page += 1) {
      const parameters = query();
      parameters.set("limit", PAGE);
      if (state.search) parameters.set("code", state.search);
      if (next) parameters.set("cursor", next);
      const answer = await ask(`/api/alerts?${parameters}`);
      if (mine !== loadNumber) return;
      alerts.push(...answer.alerts);
      if (page === 0) matching = answer.matching;
      next = answer.cursor;
      if (!next) break;
    }
  } catch (error) {
    if (mine !== loadNumber) return;
    state.loadProblem = error.message;
    loadTimer = setTimeout(loadOpen, RETRY_MS * 2);
    changed("open");
    return;
  }
  state.loadProblem = null;
  state.matching = matching;
  takeOpen(alerts, asOf);
  changed("open");
}

// Asks the interface. Throws an Error whose message says what went wrong, and `status`.
export async function ask(address) {
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error(ui("stalled"));
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const told = body.error;
  const error = new Error(told ? `${told.what} (${told.where}). ${told.remedy}` : `HTTP ${answer.status}`);
  if (told?.code === "redis_away") error.message = ui("redis_away", { where: told.where });
  error.status = answer.status;
  throw error;
}
