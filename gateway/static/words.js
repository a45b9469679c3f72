// The page's words in two languages, and how numbers, money and times are written.

const bootstrap = JSON.parse(document.getElementById("bootstrap").textContent);

export const { provinces, kinds, bands, policy } = bootstrap;
export const provinceCodes = provinces.map(([code]) => code);
export const bandsWorstFirst = [...bands].reverse();
export const bandSymbol = { red: "▲", yellow: "◆", blue: "●" };

const names = new Map(provinces.map(([code, zh, en]) => [code, { zh, en }]));
const listeners = new Set();
let language = chosenLanguage();

function chosenLanguage() {
  const asked = new URLSearchParams(location.search).get("lang") ?? stored();
  if (asked === "zh" || asked === "en") return asked;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function stored() {
  try {
    return localStorage.getItem("pricelink.language");
  } catch {
    return null;
  }
}

export const currentLanguage = () => language;

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem("pricelink.language", language);
  } catch {
    // Private windows may refuse: the choice then holds for this visit.
  }
  for (const listener of listeners) listener();
}

export const onLanguage = (listener) => listeners.add(listener);

// word("kind", "price_hold") in the current language; {name} is filled in from values. Unknown words show as they are.
export function word(section, key, values) {
  const text = bootstrap.words[language][section]?.[key] ?? key ?? "";
  return values ? text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole) : text;
}

export const ui = (key, values) => word("ui", key, values);
export const hasWord = (section, key) => bootstrap.words[language][section]?.[key] !== undefined;
// An event's reason, as a word or (text) as a sentence; the reference of a ceiling breach is the ceiling.
export function reasonOf(event, text = "") {
  const ceiling = event.kind === "ceiling_breach" && hasWord(`ceiling_reason${text}`, event.reason);
  return event.reason ? word(`${ceiling ? "ceiling_" : ""}reason${text}`, event.reason) : "";
}

export const tileName = (code) => bootstrap.words[language].tile[code] ?? provinceName(code);
export const provinceName = (code) => names.get(code)?.[language] ?? code ?? "–";
export const locale = () => (language === "zh" ? "zh-CN" : "en-GB");

export function joinList(parts) {
  return parts.join(language === "zh" ? "、" : ", ");
}

const SHANGHAI = "Asia/Shanghai";
const formats = new Map();

function formatter(key, options) {
  const name = `${language}/${key}`;
  if (!formats.has(name)) formats.set(name, new Intl.DateTimeFormat(locale(), { timeZone: SHANGHAI, ...options }));
  return formats.get(name);
}

const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const day = { year: "numeric", month: "2-digit", day: "2-digit" };

const dayKey = (when) => formatter("day", day).format(when);

// The time of a row: of today the clock, of other days the date, too.
export function rowTime(iso) {
  const when = new Date(iso);
  if (Number.isNaN(when.getTime())) return "–";
  if (dayKey(when) === dayKey(new Date())) return formatter("clock", clock).format(when);
  return formatter("row", { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" })
    .format(when)
    .replace(",", "")
    .replace("/", "-");
}

// 2026-01-31 in Chinese, 31 Jan 2026 in English.
export function dateOf(iso) {
  const when = new Date(iso ?? "");
  if (Number.isNaN(when.getTime())) return "–";
  if (language === "zh") return dayKey(when).replaceAll("/", "-");
  return formatter("date", { year: "numeric", month: "short", day: "numeric" }).format(when);
}

export const fullTime = (iso) => (dateOf(iso) === "–" ? "–" : `${dateOf(iso)} ${formatter("clock", clock).format(new Date(iso))}`);

export function count(number) {
  return number >= 1e6 ? `${(number / 1e6).toFixed(2)}M` : Math.round(number).toLocaleString("en-US");
}

// "1234.5000" as ¥1,234.50: two decimals, or all four where they say something.
export function yuan(text) {
  if (text === undefined || text === null) return "–";
  const [whole, decimals = ""] = String(text).split(".");
  const kept = decimals.replace(/0+$/, "").length > 2 ? decimals.padEnd(4, "0") : decimals.slice(0, 2).padEnd(2, "0");
  return `¥${whole.replace(/\B(?=(\d{3})+$)/g, ",")}.${kept}`;
}

// For rows: from 100 yuan on without the decimals that only sums need.
export function shortYuan(text) {
  return Math.abs(Number(text)) >= 100 ? yuan(Number(text).toFixed(2)) : yuan(text);
}

export function percent(basisPoints) {
  if (basisPoints === undefined || basisPoints === null) return "–";
  const value = Number(basisPoints) / 100;
  if (Math.abs(value) >= 1000) return `${Math.round(value).toLocaleString("en-US")} %`;
  return `${value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2)} %`;
}

export function thresholds(code) {
  return policy ? (policy.provinces[code] ?? policy.bands) : null;
}
