// Elements without a framework. Text always goes in as text: what stands in alerts is somebody else's input.

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

export function refill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const byId = (id) => document.getElementById(id);

// One function per name runs in the next animation frame, however often it was asked for.
const waiting = new Map();
export function inFrame(name, work) {
  if (!waiting.size) requestAnimationFrame(runFrame);
  waiting.set(name, work);
}

function runFrame() {
  const works = [...waiting.values()];
  waiting.clear();
  for (const work of works) work();
}

// A page in the background gets no frames: without this, work would pile up behind it unseen.
export function every(ms, work) {
  return setInterval(work, ms);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {
    // Without HTTPS browsers offer no clipboard except on localhost.
  }
  const area = h("textarea", { class: "offscreen" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
