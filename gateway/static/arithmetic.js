// The sums behind an alert, done again from the records as they stand in the log. Exact: counts of 1/10,000 yuan as BigInt.

const SCALE = 10000n;

// "12.5" as 125000n; null for what is no amount.
export function parseE4(text) {
  const found = /^(-?)(\d+)(?:\.(\d{0,4})0*)?$/.exec(String(text ?? ""));
  if (!found) return null;
  const amount = BigInt(found[2]) * SCALE + BigInt((found[3] ?? "").padEnd(4, "0") || "0");
  return found[1] ? -amount : amount;
}

export function formatE4(amount) {
  const sign = amount < 0n ? "-" : "";
  const size = amount < 0n ? -amount : amount;
  return `${sign}${size / SCALE}.${String(size % SCALE).padStart(4, "0")}`;
}

export function perPieceE4(price, packSize = 1) {
  const amount = parseE4(price);
  const pack = BigInt(packSize || 1);
  return amount === null || pack < 1n ? null : (amount * 2n + pack) / (pack * 2n);
}

// floor((own − reference) × 10,000 / reference), below zero, too.
export function excessBp(own, reference) {
  const top = (own - reference) * SCALE;
  const cut = top / reference;
  return Number(top < 0n && top % reference !== 0n ? cut - 1n : cut);
}

// What a record's role in an alert is: the trigger comes first, the own price is of the alert's province.
export function roleOf(alert, entry, index) {
  const record = entry.record;
  const roles = index === 0 ? ["trigger"] : [];
  if (!record) return roles.length ? roles : ["other"];
  const own = record.province === alert.province;
  const isReference = alert.reference?.provinces?.includes(record.province);
  if (record.type === "quote" && own && alert.reference?.rule !== "listing") roles.push("own");
  else if (record.type === "order" && own && alert.kind === "bargain") roles.push("own");
  else if (["quote", "ceiling"].includes(record.type) && isReference) roles.push("reference");
  return roles.length ? roles : ["other"];
}

// The prices per piece that the records give: own, and of each reference province.
export function pricesOf(alert, entries) {
  const found = { own: null, references: [] };
  entries.forEach((entry, index) => {
    const roles = roleOf(alert, entry, index);
    const record = entry.record;
    if (!record) return;
    const price = perPieceE4(record.price, record.type === "ceiling" ? 1 : record.pack_size);
    if (price === null) return;
    const line = { price, written: String(record.price), pack: Number(record.pack_size ?? 1) || 1, province: record.province };
    if (roles.includes("own")) found.own ??= line;
    if (roles.includes("reference")) found.references.push(line);
  });
  return found;
}
