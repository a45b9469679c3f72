// The two lists: the live stream of events, and the worklist of open alerts.

import { byId, h, refill, setText } from "./dom.js";
import { bandMark } from "./header.js";
import { Rows, cell } from "./rows.js";
import { openRows, state, streamRows } from "./state.js";
import { count, percent, provinceName, reasonOf, rowTime, shortYuan, ui, word } from "./words.js";

let stream;
let worklist;

export function buildLists(choose) {
  const onPause = (fresh) => drawPause(fresh);
  stream = new Rows(byId("stream"), { label: "stream", fill: fillRow, key: (event) => event.event_id, choose, onPause });
  worklist = new Rows(byId("worklist"), { label: "open", fill: fillRow, key: (event) => event.alert_id, choose, onPause });
  byId("paused").addEventListener("click", () => shown().resume());
}

const shown = () => (state.view === "open" ? worklist : stream);

export function togglePause() {
  const list = shown();
  if (list.held) list.resume();
  else list.pause(true);
}

function drawPause(fresh) {
  const element = byId("paused");
  element.hidden = !shown().held;
  setText(element, fresh > 0 ? ui("paused_new", { n: count(fresh) }) : ui("paused"));
}

export function drawLists({ now = false } = {}) {
  const open = state.view === "open";
  byId("stream").hidden = open;
  byId("worklist").hidden = !open;
  byId("order-field").hidden = !open;
  const rows = open ? openRows() : streamRows();
  shown().show(rows, { now });
  const empty = byId("empty");
  empty.hidden = rows.length > 0;
  setText(empty, ui(open ? "empty_open" : "empty_stream"));
  drawPartial(open);
}

function drawPartial(open) {
  const partial = open && state.matching !== null && state.matching > state.open.size + 50;
  byId("partial").hidden = !partial;
  if (partial) setText(byId("partial"), ui("partial", { shown: count(state.open.size), matching: count(state.matching) }));
}

export function selectRow(alertId) {
  stream.select(alertId);
  worklist.select(alertId);
}

export const focusList = () => shown().host.focus();

export function labelLists() {
  byId("stream").dataset.label = ui("stream");
  byId("worklist").dataset.label = ui("worklist");
  refill(
    byId("row-head"),
    ["time", "band", "province", "what", "code", "price", "excess", "reason"].map((name) => cell(name, ui(`col_${name}`))),
  );
}

function fillRow(element, event) {
  const ended = event.change === "resolved" || event.change === "closed";
  element.className = `row change-${event.change} ${ended ? "ended" : ""} band-${event.band ?? "none"}`;
  refill(
    element,
    cell("time", rowTime(event.at)),
    h("span", { class: "c-band" }, bandMark(event.band), h("span", { class: "band-name" }, event.band ? word("band", event.band) : "")),
    cell("province", provinceName(event.province)),
    h(
      "span",
      { class: "c-what" },
      h("span", { class: "what-kind" }, word("kind", event.kind)),
      h("span", { class: `chip ${event.change}` }, word("change", event.change)),
    ),
    cell("code", event.code ?? "–", event.code),
    priceCell(event),
    cell("excess", event.excess_bp === undefined ? "" : `${event.excess_bp > 0 ? "+" : ""}${percent(event.excess_bp)}`),
    cell("reason", reasonOf(event)),
  );
}

function priceCell(event) {
  if (event.quantity) {
    const rate = event.quantity.fill_rate_bp;
    return cell("price", `${count(event.quantity.filled)} / ${count(event.quantity.due)}${rate === undefined ? "" : ` · ${percent(rate)}`}`);
  }
  if (event.amount) return cell("price", shortYuan(event.amount.owed));
  const target = event.target_price ?? event.reference?.price;
  const element = h("span", { class: "c-price" });
  if (event.price !== undefined) element.append(h("span", { class: "now" }, shortYuan(event.price)));
  if (target !== undefined) element.append(h("span", { class: "arrow", "aria-hidden": "true" }, " → "), h("span", {}, shortYuan(target)));
  return element;
}
