// Reads the page anew every few seconds and puts its tables in place of the old ones; says so when it cannot.

const EVERY_MS = 5000;
const parser = new DOMParser();

async function refresh() {
  if (document.hidden || String(getSelection())) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = parser.parseFromString(await answer.text(), "text/html");
    for (const id of ["cards", "notices"]) document.getElementById(id).innerHTML = fresh.getElementById(id).innerHTML;
    document.getElementById("stale").hidden = true;
  } catch {
    document.getElementById("stale").hidden = false;
  }
}

setInterval(refresh, EVERY_MS);
