// A list of any length of which only the rows in sight are elements. Rows have one height. It holds still while it is read.

import { h, inFrame, setText } from "./dom.js";

const SPARE = 6;
const QUIET_MS = 150; // rows move at most this often, so that they can be read

export class Rows {
  // host: the scrolling element; fill(row, item): writes an item into a row's element; key(item): what tells items apart.
  constructor(host, { label, fill, key, choose, onPause }) {
    Object.assign(this, { host, fill, key, choose, onPause });
    this.items = [];
    this.waiting = null;
    this.selected = null;
    this.active = -1; // the row that the keyboard is at
    this.steered = false; // by the keyboard, just now
    this.hovered = false;
    this.paused = false;
    this.space = h("div", { class: "rows-space" });
    host.append(this.space);
    this.shown = new Map(); // item → its row
    this.hidden = [];
    this.made = 0;
    this.drawnAt = 0;
    this.name = `rows-${label}`;
    host.addEventListener("scroll", () => this.onScroll(), { passive: true });
    host.addEventListener("pointerenter", () => this.hold(true));
    host.addEventListener("pointerleave", () => this.hold(false));
    host.addEventListener("keydown", (event) => this.onKey(event));
    host.addEventListener("focus", () => this.draw());
    host.addEventListener("blur", () => {
      this.steered = false;
      this.release();
    });
    new ResizeObserver(() => this.draw(true)).observe(host);
  }

  get held() {
    return this.paused || this.hovered || this.host.scrollTop > 4 || this.steered;
  }

  // Shows these items; while the list is held they wait.
  show(items, { now = false } = {}) {
    if (this.held && !now) {
      this.waiting = items;
      this.onPause?.(this.freshCount());
      return;
    }
    this.waiting = null;
    const active = this.items[this.active];
    this.items = items;
    this.active = active ? items.findIndex((item) => this.key(item) === this.key(active)) : -1;
    this.onPause?.(0);
    this.draw();
  }

  freshCount() {
    if (!this.waiting) return 0;
    const first = this.items.length ? this.key(this.items[0]) : null;
    const place = this.waiting.findIndex((item) => this.key(item) === first);
    return place < 0 ? this.waiting.length : place;
  }

  hold(hovered) {
    this.hovered = hovered;
    this.release();
  }

  pause(paused) {
    this.paused = paused;
    this.release();
  }

  release() {
    if (this.held) {
      this.onPause?.(this.freshCount());
      return;
    }
    if (this.waiting) this.show(this.waiting);
    else this.onPause?.(0);
  }

  resume() {
    this.paused = false;
    this.steered = false;
    this.active = -1;
    this.host.scrollTop = 0;
    if (this.waiting) this.show(this.waiting, { now: true });
    this.onPause?.(0);
  }

  onScroll() {
    this.draw(true);
    this.release();
  }

  rowHeight() {
    return Math.round(parseFloat(getComputedStyle(document.documentElement).fontSize) * 2.3);
  }

  // now: scrolling and resizing must not wait, new events may.
  draw(now = false) {
    const wait = now ? 0 : QUIET_MS - (performance.now() - this.drawnAt);
    if (wait > 0) {
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.draw(true);
      }, wait);
      return;
    }
    inFrame(this.name, () => this.drawNow());
  }

  drawNow() {
    this.drawnAt = performance.now();
    const height = this.rowHeight();
    const seen = Math.ceil(this.host.clientHeight / height) + SPARE;
    const first = Math.max(0, Math.min(Math.floor(this.host.scrollTop / height) - SPARE / 2, this.items.length - seen));
    this.space.style.height = `${this.items.length * height}px`;
    const wanted = this.items.slice(first, first + seen);
    this.reuse(wanted);
    wanted.forEach((item, step) => this.place(this.shown.get(item), item, first + step, height));
    const active = this.shown.get(this.items[this.active]);
    if (active) this.host.setAttribute("aria-activedescendant", active.element.id);
    else this.host.removeAttribute("aria-activedescendant");
    this.host.setAttribute("aria-label", this.host.dataset.label ?? "");
  }

  // Rows whose items are still in sight only move; the others are filled anew.
  reuse(wanted) {
    const now = new Set(wanted);
    const language = document.documentElement.lang;
    const spare = [];
    for (const [item, row] of this.shown) {
      if (now.has(item) && row.language === language) continue;
      this.shown.delete(item);
      spare.push(row);
    }
    for (const row of this.hidden.splice(0)) spare.push(row);
    for (const item of wanted) {
      if (this.shown.has(item)) continue;
      const row = spare.pop() ?? this.newRow();
      row.language = language;
      this.fill(row.element, item);
      this.shown.set(item, row);
    }
    for (const row of spare) {
      row.element.hidden = true;
      this.hidden.push(row);
    }
  }

  newRow() {
    this.made += 1;
    const element = h("div", { class: "row", role: "option", id: `${this.name}-${this.made}` });
    const row = { element, index: -1, language: null };
    element.addEventListener("click", () => this.pick(row.index));
    this.space.append(element);
    return row;
  }

  place(row, item, index, height) {
    row.index = index;
    row.element.hidden = false;
    row.element.style.transform = `translateY(${index * height}px)`;
    row.element.style.height = `${height}px`;
    row.element.classList.toggle("active", index === this.active);
    row.element.setAttribute("aria-selected", String(item.alert_id === this.selected));
    row.element.setAttribute("aria-setsize", this.items.length);
    row.element.setAttribute("aria-posinset", index + 1);
  }

  select(alertId) {
    this.selected = alertId;
    this.draw(true);
  }

  pick(index) {
    const item = this.items[index];
    if (!item) return;
    this.active = index;
    this.draw(true);
    this.choose(item);
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.host.clientHeight / this.rowHeight()) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps && this.items.length) {
      event.preventDefault();
      this.steered = true;
      this.active = Math.max(0, Math.min(this.items.length - 1, this.active + steps[event.key]));
      const height = this.rowHeight();
      const top = this.active * height;
      if (top < this.host.scrollTop) this.host.scrollTop = top;
      else if (top + height > this.host.scrollTop + this.host.clientHeight) this.host.scrollTop = top + height - this.host.clientHeight;
      this.draw(true);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.pick(this.active);
    }
  }
}

export function cell(name, text, title) {
  const element = h("span", { class: `c-${name}`, title });
  setText(element, text);
  return element;
}
