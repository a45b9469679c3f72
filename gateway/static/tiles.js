// The provinces as tiles, placed about where they lie on a map; and the counts by kind and band. All of them filter.

import { byId, h, refill, setText } from "./dom.js";
import { countCells, state, total, worst } from "./state.js";
import { bands, bandsWorstFirst, bandSymbol, count, kinds, provinceCodes, provinceName, thresholds, tileName, ui, word } from "./words.js";

// Row and column of each province; Xinjiang's Corps lies north of Xinjiang here.
const places = {
  230000: [1, 8], 660000: [2, 1], 150000: [2, 6], 220000: [2, 8], 650000: [3, 1], 640000: [3, 4], 110000: [3, 6], 120000: [3, 7],
  210000: [3, 8], 630000: [4, 2], 620000: [4, 3], 610000: [4, 4], 140000: [4, 5], 130000: [4, 6], 370000: [4, 7], 540000: [5, 2],
  510000: [5, 3], 500000: [5, 4], 410000: [5, 5], 340000: [5, 6], 320000: [5, 7], 310000: [5, 8], 530000: [6, 3], 520000: [6, 4],
  420000: [6, 5], 360000: [6, 6], 330000: [6, 7], 450000: [7, 4], 430000: [7, 5], 440000: [7, 6], 350000: [7, 7], 460000: [8, 5],
};

const tiles = new Map();
let choose = () => {};

export function buildTiles(onChoose) {
  choose = onChoose;
  const map = byId("map");
  const order = [...provinceCodes].sort((one, other) => places[one][0] - places[other][0] || places[one][1] - places[other][1]);
  for (const code of order) map.append(newTile(code));
  tiles.get(order[0]).button.tabIndex = 0;
  map.addEventListener("keydown", moveFocus);
}

function newTile(code) {
  const [row, column] = places[code];
  const name = h("span", { class: "tile-name" });
  const mark = h("span", { class: "tile-mark" });
  const bars = h("span", { class: "tile-bars", "aria-hidden": "true" }, bandsWorstFirst.map((band) => h("i", { class: band })));
  const button = h(
    "button",
    {
      class: "tile", type: "button", tabindex: -1, "aria-pressed": "false", "data-province": code, "data-row": row, "data-column": column,
      onclick: () => choose("province", state.province === code ? null : code),
    },
    name, mark, bars,
  );
  button.style.gridArea = `${row} / ${column}`;
  tiles.set(code, { button, name, mark, bars });
  return button;
}

const directions = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function moveFocus(event) {
  const direction = directions[event.key];
  const from = event.target.closest?.(".tile");
  if (!direction || !from) return;
  event.preventDefault();
  const [down, right] = direction;
  const here = places[from.dataset.province];
  let best = null;
  for (const [code, [row, column]] of Object.entries(places)) {
    const along = down ? (row - here[0]) * down : (column - here[1]) * right;
    const across = Math.abs(down ? column - here[1] : row - here[0]);
    if (along <= 0) continue;
    const distance = along + across * 2.5;
    if (!best || distance < best.distance) best = { code, distance };
  }
  if (!best) return;
  from.tabIndex = -1;
  tiles.get(best.code).button.tabIndex = 0;
  tiles.get(best.code).button.focus();
}

export function drawTiles() {
  const counts = new Map(provinceCodes.map((code) => [code, { red: 0, yellow: 0, blue: 0 }]));
  const chosen = (kind, band) => (!state.kind || kind === state.kind) && (!state.band || band === state.band);
  for (const [kind, province, band, number] of state.cells) {
    if (chosen(kinds[kind], bands[band])) counts.get(provinceCodes[province])[bands[band]] += number;
  }
  const most = { red: 1, yellow: 1, blue: 1 };
  for (const each of counts.values()) for (const band of bandsWorstFirst) most[band] = Math.max(most[band], each[band]);
  for (const [code, each] of counts) drawTile(code, each, most);
  drawNation(counts);
}

function drawTile(code, counts, most) {
  const { button, name, mark, bars } = tiles.get(code);
  const band = worst(counts);
  button.dataset.band = band ?? "none";
  button.style.setProperty("--weight", band ? String(Math.round(26 + 54 * Math.sqrt(counts[band] / most[band]))) : "0");
  setText(name, tileName(code));
  setText(mark, band ? `${bandSymbol[band]} ${count(counts[band])}` : "–");
  bandsWorstFirst.forEach((each, index) => {
    bars.children[index].style.flexGrow = String(counts[each]);
  });
  const label = ui("tile_label", { province: provinceName(code), ...counts });
  if (button.title !== label) {
    button.title = label;
    button.setAttribute("aria-label", label);
  }
  button.setAttribute("aria-pressed", String(state.province === code));
  button.classList.toggle("dimmed", Boolean(state.province) && state.province !== code);
}

function drawNation(counts) {
  const sums = { red: 0, yellow: 0, blue: 0 };
  for (const each of counts.values()) for (const band of bandsWorstFirst) sums[band] += each[band];
  setText(byId("nation-name"), ui("nation"));
  setText(byId("nation-total"), ui("open_count", { n: count(total(sums)) }));
  byId("nation").setAttribute("aria-pressed", String(!state.province));
  byId("nation").title = ui("all_provinces");
}

export function drawLegend() {
  const limits = thresholds(state.province);
  refill(
    byId("legend"),
    h(
      "ul",
      {},
      h("li", { class: "muted" }, ui("legend")),
      bandsWorstFirst.map((band) =>
        h(
          "li",
          {},
          h("span", { class: `mark ${band}` }, bandSymbol[band]),
          `${word("band", band)} `,
          limits ? h("span", { class: "muted" }, limits[band] ? ui("at_least", { percent: `${limits[band] / 100} %` }) : ui("above")) : null,
        ),
      ),
    ),
    h("p", { class: "legend-note" }, ui("ours")),
  );
}

// The table of kinds and bands: how many are open, and the buttons that filter by them.
export function drawKinds() {
  const inProvince = (province) => !state.province || province === state.province;
  const rows = kinds.map((kind) => {
    const counts = countCells((each, province) => each === kind && inProvince(province));
    return h(
      "button",
      {
        type: "button", class: "kind", "data-kind": kind, "aria-pressed": String(state.kind === kind),
        onclick: () => choose("kind", state.kind === kind ? null : kind),
      },
      h("span", { class: "kind-name" }, word("kind", kind)),
      bandsWorstFirst.map((band) => number(band, counts[band])),
    );
  });
  const sums = countCells((kind, province) => inProvince(province) && (!state.kind || kind === state.kind));
  const head = h(
    "div",
    { class: "kind kind-head" },
    h("span", { class: "kind-name" }, ui("by_kind")),
    bandsWorstFirst.map((band) =>
      h(
        "button",
        {
          type: "button", class: `band-button ${band}`, "data-band": band, "aria-pressed": String(state.band === band),
          "aria-label": `${word("band", band)} ${sums[band]}`,
          onclick: () => choose("band", state.band === band ? null : band),
        },
        h("span", { class: `mark ${band}` }, bandSymbol[band]), ` ${word("band", band)}`,
      ),
    ),
  );
  keepFocus(byId("kinds"), () => refill(byId("kinds"), head, rows));
}

const number = (band, value) =>
  h("span", { class: `kind-number ${value ? band : "zero"}` }, value ? `${bandSymbol[band]} ${count(value)}` : "·");

function keepFocus(host, work) {
  const { kind, band } = host.contains(document.activeElement) ? document.activeElement.dataset : {};
  work();
  const again = kind ? `[data-kind="${kind}"]` : band ? `[data-band="${band}"]` : null;
  if (again) host.querySelector(again)?.focus();
}
