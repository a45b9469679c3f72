// The panel of one alert: what must happen, from which price to which, by when, why, and the proof.

import { excessBp, formatE4, parseE4, pricesOf, roleOf } from "./arithmetic.js";
import { ask } from "./connection.js";
import { byId, copy, h, refill } from "./dom.js";
import { bandMark } from "./header.js";
import { isOpen, state } from "./state.js";
import {
  count, dateOf, fullTime, hasWord, joinList, percent, policy, provinceName, reasonOf, rowTime, thresholds, ui, word, yuan,
} from "./words.js";

const LIVE_MS = 400; // a burst of revisions reads the alert once
let shownId = null;
let answer = null;
let problem = null;
let asked = 0;
let timer = null;
let close = () => {};

export function buildDetail(onClose) {
  close = onClose;
}

export function showAlert(alertId) {
  if (shownId === alertId) return;
  shownId = alertId;
  answer = null;
  problem = null;
  draw();
  byId("detail").scrollTop = 0;
  if (alertId) load();
}

export function alertChanged(event) {
  if (event.alert_id !== shownId) return;
  clearTimeout(timer);
  timer = setTimeout(load, LIVE_MS);
}

async function load() {
  const mine = ++asked;
  const id = shownId;
  try {
    const found = await ask(`/api/alerts/${encodeURIComponent(id)}`);
    if (mine !== asked || id !== shownId) return;
    answer = found;
    problem = null;
  } catch (error) {
    if (mine !== asked || id !== shownId) return;
    problem = error;
  }
  draw();
}

function eventOf(id) {
  const known = state.open.get(id) ?? state.events.findLast((event) => event.alert_id === id);
  const read = answer?.alert;
  return read && (!known || read.revision >= known.revision) ? read : (known ?? read);
}

export function draw() {
  const panel = byId("detail");
  document.body.classList.toggle("detail-open", Boolean(shownId));
  if (!shownId) {
    refill(panel, h("div", { class: "detail-none" }, h("p", {}, ui("detail_none")), h("p", { class: "muted" }, ui("detail_keys"))));
    return;
  }
  const event = eventOf(shownId);
  if (!event) {
    refill(panel, closeButton(), h("p", { class: "detail-none" }, problem ? failed() : ui("loading")));
    return;
  }
  refill(
    panel,
    head(event),
    h("p", { class: "must" }, mustText(event)),
    figures(event),
    why(event),
    facts(event),
    timeline(event),
    evidence(event),
    problem ? h("p", { class: "problem" }, failed()) : null,
  );
}

function failed() {
  return [
    problem.status === 404 ? `${ui("no_such_alert")}: ` : "",
    ui("detail_failed", { what: problem.message }),
    " ",
    h("button", { type: "button", class: "link", onclick: load }, ui("retry")),
  ];
}

const closeButton = () =>
  h("button", { type: "button", class: "close", "aria-label": ui("close"), title: `${ui("close")} (Esc)`, onclick: () => close() }, "×");

function head(event) {
  return h(
    "header",
    { class: `detail-head band-${event.band ?? "none"}` },
    h(
      "div",
      { class: "detail-title" },
      h("span", { class: `band-badge ${event.band ?? "none"}` }, bandMark(event.band), word("band", event.band ?? "none")),
      h("h2", {}, word("kind", event.kind)),
      h("span", { class: `chip ${event.change}` }, word("change", event.change)),
      closeButton(),
    ),
    h("p", { class: "detail-sub" }, `${provinceName(event.province)} · `, event.code ? copyable(event.code) : null),
  );
}

function copyable(text) {
  const button = h("button", { type: "button", class: "copyable", title: ui("copy") }, h("code", {}, text), h("span", { class: "copy-sign" }));
  button.addEventListener("click", async () => {
    await copy(text);
    button.classList.add("copied");
    button.lastChild.textContent = ui("copied");
    setTimeout(() => {
      button.classList.remove("copied");
      button.lastChild.textContent = "";
    }, 1200);
  });
  return button;
}

function mustText(event) {
  const ended = !isOpen(event) && event.change !== "observed";
  return word("must", ended ? `${event.kind}_ended` : event.kind, {
    province: provinceName(event.province),
    institution: event.institution ?? ui("institution"),
    price: yuan(event.price),
    target: yuan(event.target_price),
    reference: yuan(event.reference?.price),
    rule: word("rule", event.reference?.rule),
    due: dateOf(event.due_at),
    quantity_due: count(event.quantity?.due ?? 0),
    filled: count(event.quantity?.filled ?? 0),
    overdue: count(event.quantity?.overdue ?? 0),
    owed: yuan(event.amount?.owed),
    amount_due: dateOf(event.amount?.due_at),
  });
}

function figure(label, value, note, extra = "") {
  return h("div", { class: `figure ${extra}` }, h("span", { class: "label" }, label), h("span", { class: "value" }, value), note ? h("span", { class: "note" }, note) : null);
}

function figures(event) {
  if (event.quantity) return quantityFigures(event);
  if (event.amount) return h("div", { class: "figures" }, figure(ui("owed"), yuan(event.amount.owed)), dueFigure(ui("earliest_due"), event.amount.due_at, event));
  if (event.price === undefined && !event.reference) return null;
  const target = event.target_price ?? event.reference?.price;
  const own = parseE4(event.price);
  const to = parseE4(event.target_price);
  const label = { price_hold: "held_price", bargain: "paid_price" }[event.kind] ?? "from";
  return h(
    "div",
    { class: "figures prices" },
    figure(ui(label), yuan(event.price), ui("per_piece")),
    target === undefined ? null : h("span", { class: "figure-arrow", "aria-hidden": "true" }, "→"),
    target === undefined ? null : figure(ui(event.target_price ? "to" : "reference"), yuan(target), event.reference ? word("rule", event.reference.rule) : "", "target"),
    event.excess_bp === undefined
      ? null
      : figure(ui(event.excess_bp < 0 ? "below" : event.kind === "ceiling_breach" ? "excess_ceiling" : "excess"), percent(Math.abs(event.excess_bp)), own !== null && to !== null && own > to ? `${ui("cut")} ${yuan(formatE4(own - to))}` : "", `excess band-${event.band ?? "none"}`),
    dueFigure(ui("due"), event.due_at, event),
  );
}

function quantityFigures(event) {
  const names = event.kind === "purchase_shortfall" ? ["due_purchase", "filled_purchase", "overdue_purchase"] : ["due_quantity", "filled_quantity", "overdue_quantity"];
  const { due, filled, overdue, fill_rate_bp: rate } = event.quantity;
  return h(
    "div",
    { class: "figures" },
    figure(ui(names[0]), count(due), ui("pieces")),
    figure(ui(names[1]), count(filled), rate === undefined ? "" : percent(rate)),
    figure(ui(names[2]), count(overdue), ui("pieces"), `excess band-${event.band ?? "none"}`),
    dueFigure(ui(event.kind === "purchase_shortfall" ? "contract_ends" : "overdue_since"), event.due_at, event),
  );
}

function dueFigure(label, due, event) {
  if (!due) return null;
  const hours = (new Date(due).getTime() - Date.now()) / 3600000;
  const days = Math.floor(Math.abs(hours) / 24);
  const key = `due_${hours >= 0 ? "left" : "past"}${days < 1 ? "_hours" : ""}`;
  const note = isOpen(event) ? ui(key, { n: count(days < 1 ? Math.floor(Math.abs(hours)) : days) }) : "";
  return figure(label, dateOf(due), note, hours < 0 && isOpen(event) ? "late" : "");
}

function why(event) {
  const provinces = event.reference?.provinces ?? [];
  const reason = reasonOf(event, "_text");
  if (!reason && !provinces.length) return null;
  return section(
    ui("why"),
    reason ? h("p", {}, h("strong", {}, reasonOf(event)), " — ", reason) : null,
    provinces.length
      ? h("p", { class: "references" }, h("span", { class: "label" }, ui("reference_from")), provinces.map((code) => h("span", { class: "place" }, provinceName(code))), h("span", { class: "muted" }, ` ${word("rule", event.reference.rule)} ${yuan(event.reference.price)}`))
      : null,
  );
}

function facts(event) {
  const ids = event.alert_id.split(":");
  const named = { supply_shortfall: "contract", purchase_shortfall: "contract", bargain: "order_id", settlement_arrears: "order_id" }[event.kind];
  const first = answer?.history?.[0];
  const rows = [
    [ui("supplier"), event.supplier ? copyable(event.supplier) : null],
    [ui("institution"), event.institution],
    [named ? ui(named) : "", named ? copyable(ids.slice(3, -1).join(":")) : null],
    [ui("opened_at"), first?.revision === 1 ? fullTime(first.at) : event.revision === 1 ? fullTime(event.at) : null],
    [ui("last_change"), event.revision > 1 ? fullTime(event.at) : null],
    [ui("high_value"), event.high_value ? ui("high_value_hint") : null],
    [ui("source_id"), event.source_id ? copyable(event.source_id) : null],
    [ui("alert_id"), copyable(event.alert_id)],
    [ui("policy_version"), event.policy_version ? copyable(event.policy_version) : null],
    [ui("explain_command"), copyable(`pricelink explain '${event.alert_id.replaceAll("'", "'\\''")}'`)],
  ];
  return section(
    ui("facts"),
    h("dl", {}, rows.filter(([, value]) => value).map(([label, value]) => [h("dt", {}, label), h("dd", {}, value)])),
  );
}

function timeline(event) {
  const history = answer?.history ?? [event];
  return section(
    ui("timeline"),
    h(
      "ol",
      { class: "timeline" },
      [...history].reverse().map((each) =>
        h(
          "li",
          { class: `band-${each.band ?? "none"}` },
          h("span", { class: "when", title: `${ui("revision", { n: each.revision })} · ${fullTime(each.at)}` }, rowTime(each.at)),
          bandMark(each.band),
          h("span", { class: `chip ${each.change}` }, word("change", each.change)),
          h("span", { class: "told" }, told(each)),
        ),
      ),
    ),
  );
}

function told(event) {
  const parts = [];
  if (event.reason) parts.push(reasonOf(event));
  if (event.price !== undefined && event.target_price !== undefined) parts.push(`${yuan(event.price)} → ${yuan(event.target_price)}`);
  else if (event.price !== undefined) parts.push(yuan(event.price));
  else if (event.quantity) parts.push(`${count(event.quantity.filled)} / ${count(event.quantity.due)}`);
  else if (event.amount) parts.push(yuan(event.amount.owed));
  return parts.join(" · ");
}

function section(title, ...children) {
  return h("section", {}, h("h3", {}, title), children);
}

function evidence(event) {
  const read = answer?.evidence;
  const about = answer?.history?.find((each) => each.revision === read?.revision) ?? event;
  const entries = read?.records ?? (event.evidence ?? []).map((position) => ({ position }));
  if (!entries.length) return null;
  return section(
    ui("evidence"),
    h("p", { class: "muted" }, ui("evidence_hint")),
    read ? arithmetic(about, entries) : null,
    h("ol", { class: "evidence" }, entries.map((entry, index) => record(about, entry, index, Boolean(read)))),
  );
}

const shownFields = ["price", "pack_size", "unit", "kind", "status", "quantity", "agreed_quantity", "paid_total", "action", "supplier", "institution", "order_id", "contract_id", "delivery_id", "accepted_at", "starts_at", "ends_at", "delivery_hours", "effective_at", "valid_until", "channel", "bargained_by", "payer", "actor", "note", "name", "device_class", "category", "moved_to", "special_drug", "at", "id"];
const wordLists = { kind: "quote_kind", channel: "channel", bargained_by: "bargained_by", action: "action", payer: "payer" };

function record(alert, entry, index, isRead) {
  const { position, record: content } = entry;
  const roles = isRead ? roleOf(alert, entry, index) : [];
  const place = ui("position", position);
  return h(
    "li",
    {},
    h(
      "p",
      { class: "record-head" },
      roles.map((role) => h("span", { class: `role ${role}` }, ui(`role_${role}`))),
      content ? h("strong", {}, [word("record_type", content.type), content.province ? ` · ${provinceName(content.province)}` : ""]) : null,
      h("span", { class: "position" }, place),
    ),
    content
      ? h("dl", { class: "record" }, shownFields.filter((name) => content[name] !== undefined && content[name] !== null && content[name] !== "").map((name) => [h("dt", {}, word("field", name)), h("dd", {}, fieldText(content, name))]))
      : null,
    entry.text !== undefined ? h("details", {}, h("summary", {}, ui("raw")), h("pre", {}, entry.text)) : null,
    entry.problem ? h("p", { class: "problem" }, word("problem", entry.problem)) : null,
  );
}

function fieldText(record, name) {
  const value = record[name];
  const list = name === "status" ? (record.type === "item" ? "item_status" : "quote_status") : wordLists[name];
  if (list && hasWord(list, value)) return word(list, value);
  if (/(^at|_at|_until)$/.test(name)) return Number.isNaN(new Date(value).getTime()) ? String(value) : fullTime(value);
  if (name === "price" || name === "paid_total") return yuan(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function arithmetic(event, entries) {
  const steps = [];
  const { own, references } = pricesOf(event, entries);
  for (const line of [own, ...references]) {
    if (line && (line.pack > 1 || line === own)) {
      const sum = line.pack > 1 ? `${yuan(line.written)} ÷ ${line.pack} = ${yuan(formatE4(line.price))}` : yuan(formatE4(line.price));
      steps.push([ui("step_per_piece", { province: provinceName(line.province) }), sum, line.pack > 1 ? ui("rounded") : ""]);
    }
  }
  if (event.reference) {
    const plain = references.length === 1 && references[0].price === parseE4(event.reference.price);
    const from = plain ? `${provinceName(references[0].province)} ` : references.length ? `${joinList(references.map((line) => `${provinceName(line.province)} ${yuan(formatE4(line.price))}`))} ⇒ ` : "";
    steps.push([ui("step_reference", { rule: word("rule", event.reference.rule) }), `${from}${yuan(event.reference.price)}`, ""]);
  }
  const price = parseE4(event.price);
  const reference = parseE4(event.reference?.price);
  if (event.excess_bp !== undefined && price !== null && reference) {
    const again = excessBp(price, reference);
    const sum = `(${yuan(event.price)} − ${yuan(event.reference.price)}) ÷ ${yuan(event.reference.price)} = ${percent(again)}`;
    steps.push([ui("step_excess"), again === event.excess_bp ? sum : `${sum} ≠ ${percent(event.excess_bp)}`, ui("floored")]);
  }
  const multiple = event.reason === "unit_mismatch" && price && reference ? (reference + price / 2n) / price : null;
  if (multiple) {
    const product = yuan(formatE4(price * multiple));
    steps.push([ui("step_multiple"), ui("multiple", { price: yuan(event.price), k: multiple, product, reference: yuan(event.reference.price) }), ""]);
  }
  if (event.band) steps.push([ui("step_band"), bandText(event), ""]);
  if (event.quantity && event.quantity.fill_rate_bp !== undefined) {
    const { due, filled, fill_rate_bp: rate } = event.quantity;
    steps.push([ui(event.kind === "purchase_shortfall" ? "step_progress" : "step_fill"), `${count(filled)} ÷ ${count(due)} = ${percent(rate)}`, ui("floored")]);
  }
  if (!steps.length) return null;
  return h("dl", { class: "steps" }, steps.map(([label, sum, note]) => [h("dt", {}, label), h("dd", {}, sum, note ? h("span", { class: "muted" }, ` ${note}`) : null)]));
}

function bandText(event) {
  const band = word("band", event.band);
  if (["ceiling_breach", "price_hold"].includes(event.kind) || event.reason === "above_listing") return ui("band_always", { band });
  const known = policy && policy.version === event.policy_version && ["price_adjustment", "bargain"].includes(event.kind);
  if (!known) return `${band} · ${ui("band_policy", { version: event.policy_version })}`;
  const threshold = thresholds(event.province)[event.band];
  return ui(threshold ? "band_rule" : "band_rule_any", { excess: percent(event.excess_bp), threshold: `${threshold / 100} %`, band });
}
