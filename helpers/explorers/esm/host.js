// Brings the explorers of a page to life without a kernel. SHARED holds what
// the modules have in common, SOURCES the modules' own text; a page
// from file:// may import it from a blob, and from nowhere else.

const imported = {};

function importModule(name) {
  if (!imported[name]) {
    const address = URL.createObjectURL(new Blob([SHARED, "\n", SOURCES[name]], { type: "text/javascript" }));
    imported[name] = import(address);
  }
  return imported[name];
}

/** The part of a widget's model that the modules use. */
function makeModel(state) {
  const listeners = {};
  return {
    get: (key) => state[key],
    set(key, value) {
      if (JSON.stringify(state[key]) === JSON.stringify(value)) return;
      state[key] = value;
      for (const call of [...(listeners[`change:${key}`] || [])]) call();
    },
    on: (name, call) => (listeners[name] ||= []).push(call),
    off(name, call) {
      listeners[name] = (listeners[name] || []).filter((other) => other !== call);
    },
    save_changes() {},
    send() {},
  };
}

// ---- The state in the address, #kernel_size=7, on pages that ask for it (data-ob-share="hash") --

const explorers = [];
const shares = document.documentElement.dataset.obShare === "hash";

/** The name of a control in the address, with the explorer's where two explorers share it. */
function addressKey(model, key) {
  const owners = explorers.filter(({ model: other }) => key in other.get("value"));
  return owners.length > 1 ? `${model.get("name")}.${key}` : key;
}

function readAddress() {
  const entries = new URLSearchParams(location.hash.slice(1));
  for (const { model, root } of explorers) {
    const value = { ...model.get("value") };
    let named = false;
    for (const key of Object.keys(value)) {
      const text = entries.get(addressKey(model, key)) ?? entries.get(`${model.get("name")}.${key}`);
      if (text === null) continue;
      named = true;
      if (typeof value[key] === "number") value[key] = Number(text);
      else if (typeof value[key] === "boolean") value[key] = text === "true";
      else value[key] = text;
    }
    if (!named) continue;
    model.set("value", value);
    // Who shares a state means it to be seen, in a fold as well.
    for (let fold = root.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    root.scrollIntoView({ block: "nearest" });
  }
}

let writing = 0;

/** Write once the reader pauses: browsers refuse many changes of the address in a row. */
function writeSoon() {
  clearTimeout(writing);
  writing = setTimeout(writeAddress, 200);
}

function writeAddress() {
  const entries = new URLSearchParams();
  for (const { model } of explorers) {
    const [value, start] = [model.get("value"), model.get("start")];
    for (const key of Object.keys(value)) {
      if (value[key] !== start[key]) entries.set(addressKey(model, key), value[key]);
    }
  }
  const hash = entries.toString();
  // An ordinary anchor stays where it is as long as every explorer is as it was.
  if (!hash && !location.hash.includes("=")) return;
  history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search);
}

async function mount(root) {
  const source = root.querySelector('script[type="application/json"]');
  if (!source || root.dataset.mounted) return;
  root.dataset.mounted = "waiting";
  const model = makeModel(JSON.parse(source.textContent));
  const stage = document.createElement("div");
  const { default: module } = await importModule(root.dataset.module);
  await module.render({ model, el: stage });
  root.replaceChildren(stage);
  root.dataset.mounted = "yes";
  explorers.push({ model, root });
}

async function start() {
  const roots = [...document.querySelectorAll(".ob-explorer[data-module]")];
  const results = await Promise.allSettled(roots.map(mount));
  for (const { status, reason } of results) if (status === "rejected") console.error(reason);
  // For a page that measures what stands on it.
  document.dispatchEvent(new Event("ob:ready"));
  if (!shares) return;
  readAddress();
  window.addEventListener("hashchange", readAddress);
  for (const { model } of explorers) model.on("change:value", writeSoon);
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
