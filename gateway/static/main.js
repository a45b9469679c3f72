// Puts the page together: what changes, what is drawn for it, and what the keyboard does.

import { connect, loadOpen, restart } from "./connection.js";
import { alertChanged, buildDetail, draw as drawDetail, showAlert } from "./detail.js";
import { byId, h, inFrame, refill, setText } from "./dom.js";
import { drawHeader, drawRate } from "./header.js";
import { buildLists, drawLists, focusList, labelLists, selectRow, togglePause } from "./lists.js";
import { readHash, state, total, countCells, writeHash } from "./state.js";
import { buildTiles, drawKinds, drawLegend, drawTiles } from "./tiles.js";
import { count, currentLanguage, onLanguage, provinceName, switchLanguage, ui, word } from "./words.js";

const SEARCH_MS = 250;
let searchTimer = null;

function drawCounters() {
  drawHeader();
  drawTiles();
  drawKinds();
  setText(byId("tab-open-number"), count(total(countCells(filtered))));
}

const filtered = (kind, province, band) =>
  (!state.province || province === state.province) && (!state.kind || kind === state.kind) && (!state.band || band === state.band);

function drawChosen() {
  const chips = [
    ["province", state.province && provinceName(state.province)],
    ["kind", state.kind && word("kind", state.kind)],
    ["band", state.band && word("band", state.band)],
    ["search", state.search],
  ].filter(([, text]) => text);
  refill(
    byId("chosen"),
    chips.map(([name, text]) =>
      h("button", { type: "button", class: "filter", title: ui("clear"), onclick: () => choose(name, name === "search" ? "" : null) }, text, h("span", { "aria-hidden": "true" }, " ×")),
    ),
    chips.length > 1 ? h("button", { type: "button", class: "link", onclick: clearFilters }, ui("clear")) : null,
  );
}

function drawViews() {
  for (const view of ["stream", "open"]) {
    byId(`tab-${view}`).setAttribute("aria-selected", String(state.view === view));
    byId(`tab-${view}`).tabIndex = state.view === view ? 0 : -1;
  }
  drawLists({ now: true });
}

function drawEverything() {
  drawCounters();
  drawLegend();
  drawChosen();
  drawViews();
}

function choose(name, value) {
  if (name === "search") {
    state.search = value;
    byId("search").value = value;
    loadOpen();
  } else {
    state[name] = value;
    restart();
  }
  writeHash();
  drawEverything();
}

function clearFilters() {
  Object.assign(state, { province: null, kind: null, band: null, search: "" });
  byId("search").value = "";
  restart();
  writeHash();
  drawEverything();
}

function view(name) {
  state.view = name;
  writeHash();
  drawViews();
}

function openAlert(event) {
  state.alert = event.alert_id;
  writeHash();
  selectRow(state.alert);
  showAlert(state.alert);
}

function closeAlert() {
  state.alert = null;
  writeHash();
  selectRow(null);
  showAlert(null);
  focusList();
}

function translate() {
  document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) setText(element, ui(element.dataset.t));
  for (const element of document.querySelectorAll("[data-t-title]")) element.title = ui(element.dataset.tTitle);
  for (const element of document.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", ui(element.dataset.tLabel));
  for (const element of document.querySelectorAll("[data-t-placeholder]")) element.placeholder = ui(element.dataset.tPlaceholder);
  byId("scorecards").href = `/scorecards?lang=${currentLanguage()}`;
  labelLists();
  drawEverything();
  drawDetail();
}

// Events come in any number: what they change is drawn once a frame.
function onChange(what, event) {
  if (what === "event") {
    alertChanged(event);
    inFrame("lists", () => drawLists());
  } else if (what === "summary") {
    inFrame("header", drawHeader);
    inFrame("rate", drawRate);
  } else if (what === "cells") inFrame("counters", drawCounters);
  else if (what === "connection") inFrame("header", drawHeader);
  else inFrame("lists", () => drawLists());
}

function onKey(event) {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (state.alert) closeAlert();
    else clearFilters();
  } else if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    if (event.key === "/") {
      event.preventDefault();
      byId("search").focus();
    } else if (event.key === "p" || event.key === "P") togglePause();
    else if (event.key === "1") view("stream");
    else if (event.key === "2") view("open");
  }
}

function start() {
  readHash();
  byId("search").value = state.search;
  buildTiles(choose);
  buildLists(openAlert);
  buildDetail(closeAlert);
  onLanguage(translate);
  translate();
  byId("language").addEventListener("click", switchLanguage);
  byId("nation").addEventListener("click", () => choose("province", null));
  byId("tab-stream").addEventListener("click", () => view("stream"));
  byId("tab-open").addEventListener("click", () => view("open"));
  byId("tabs").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    view(state.view === "open" ? "stream" : "open");
    byId(`tab-${state.view}`).focus();
  });
  byId("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    drawLists({ now: true });
  });
  byId("search").addEventListener("input", (event) => {
    clearTimeout(searchTimer);
    const value = event.target.value.trim().toUpperCase();
    searchTimer = setTimeout(() => choose("search", value), SEARCH_MS);
  });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => {
    const before = [state.province, state.kind, state.band, state.search].join();
    readHash();
    byId("search").value = state.search;
    if ([state.province, state.kind, state.band, state.search].join() !== before) restart();
    selectRow(state.alert);
    showAlert(state.alert);
    drawEverything();
  });
  connect(onChange);
  selectRow(state.alert);
  showAlert(state.alert);
}

start();
