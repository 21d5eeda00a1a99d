// Two blocks: the Transformer's and ConvNeXt's, counterparts at the same height, one selection.

/** The parts in the order of the flow; helpers/explorers/two_blocks.py says what each is. */
const TB_ORDER = ["norm1", "a", "w", "skip1", "norm2", "widen", "gelu", "narrow", "scale", "skip2"];

/**
 * Parameters of each part, biases included, by formula.
 * channels C, kernel k, expansion e. Gives transformer and convnext, in TB_ORDER, and their totals.
 */
export function compute({ channels: c, kernel = 7, expansion = 4 }) {
  const hidden = expansion * c;
  const shared = { norm2: 2 * c, widen: c * hidden + hidden, narrow: hidden * c + c };
  const square = 2 * (c * c + c); // two Linear layers, C to C
  const transformer = { norm1: 2 * c, a: square, w: square, ...shared };
  const convnext = { a: kernel * kernel * c + c, ...shared, scale: c };
  const list = (counts) => TB_ORDER.map((id) => counts[id] ?? 0);
  const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);
  return {
    transformer: list(transformer), convnext: list(convnext), totals: [total(transformer), total(convnext)],
  };
}

/** What stands on the boxes: text, colour of its role, and dashed (computed) or fixed (grey). */
const TB_BOXES = {
  transformer: {
    norm1: ["LayerNorm", "pointwise"], a: ["A: Q, K", "token tb-dashed"], w: ["W: V, O", "channel"],
    skip1: ["+", "skip"], norm2: ["LayerNorm", "pointwise"], widen: ["Linear C \u2192 4C", "channel"],
    gelu: ["GELU", "pointwise"], narrow: ["Linear 4C \u2192 C", "channel"], skip2: ["+", "skip"],
  },
  convnext: {
    a: ["A: filter", "token"], w: ["W: fixed", "fixed"], norm2: ["LayerNorm", "pointwise"],
    widen: ["1\u00d71 C \u2192 4C", "channel"], gelu: ["GELU", "pointwise"],
    narrow: ["1\u00d71 4C \u2192 C", "channel"], scale: ["Layer scale", "pointwise"], skip2: ["+", "skip"],
  },
};
const TB_BLOCKS = { transformer: "Transformer block", convnext: "ConvNeXt block" };
const TB_MIXERS = { transformer: "Attention, H heads", convnext: "Depthwise conv 7\u00d77" };
const TB_BETWEEN = {
  norm1: "", a: "token mixing", skip1: "", norm2: "the same", widen: "channel mixing", gelu: "the same",
  narrow: "channel mixing", scale: "", skip2: "skip",
};
// The row of the grid that a part stands in; a and w share one.
const TB_ROWS = ["norm1", "a", "skip1", "norm2", "widen", "gelu", "narrow", "scale", "skip2"];

function tbNumber(value) {
  return value.toLocaleString("en-US");
}

function render({ model, el }) {
  const parts = model.get("parts");
  const widths = model.get("widths");
  const byId = Object.fromEntries(parts.map((part) => [part.id, part]));
  const { card, controls, body, say } = obCard(model, "two_blocks");
  const grid = obMake("div", { className: "tb-grid" });
  const listing = obCode();
  const buttons = { transformer: {}, convnext: {} };
  const empty = { transformer: {}, convnext: {} };
  const between = {};
  let hover = null;

  const change = (entries) => obChange(model, entries);

  // ---- The selection -----------------------------------------------------------------------
  const cell = (tag, text = "") => obMake(tag, { textContent: text });
  const rows = ["terms", "A", "W", "parameters"].map((name) => {
    const line = { head: obMake("th", { scope: "row", textContent: name }), transformer: cell("td"), convnext: cell("td") };
    return { name, ...line, element: obMake("tr", {}, line.head, line.transformer, line.convnext) };
  });
  const heads = ["", "Transformer", "ConvNeXt"].map((name) =>
    name ? obMake("th", { scope: "col", textContent: name }) : obMake("td"),
  );
  const equation = obMake("table", { className: "tb-equation" },
    obMake("caption", {}, "Its terms in ", obMake("i", { textContent: "Y = \u03a3 " }),
      obMake("b", { className: "tb-of-a", textContent: "A" }), obMake("i", { textContent: " X " }),
      obMake("b", { className: "tb-of-w", textContent: "W" })),
    obMake("thead", {}, obMake("tr", {}, ...heads)),
    obMake("tbody", {}, ...rows.map(({ element }) => element)),
  );
  const put = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const show = () => {
    const { part: chosen, channels } = model.get("value");
    const id = hover ?? chosen;
    const part = byId[id];
    const counts = compute({ channels });
    const at = TB_ORDER.indexOf(id);
    const number = { transformer: counts.transformer[at], convnext: counts.convnext[at] };
    for (const block of Object.keys(TB_BLOCKS)) {
      for (const [name, button] of Object.entries(buttons[block])) {
        button.classList.toggle("tb-selected", name === id);
        const pressed = String(name === chosen);
        if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
      }
      for (const [name, slot] of Object.entries(empty[block])) slot.classList.toggle("tb-selected", name === id);
      for (const { name, ...line } of rows) {
        const key = { terms: "terms", A: "a", W: "w" }[name];
        put(line[block], key ? part[block][key] : tbNumber(number[block]));
      }
    }
    const row = id === "w" ? "a" : id;
    for (const [name, element] of Object.entries(between)) element.classList.toggle("tb-selected", name === row);
    put(between.a.firstChild, id === "w" ? "channel mixing" : TB_BETWEEN.a);
    between.a.classList.toggle("tb-channel", id === "w");
    if (!hover) setStops(chosen);
    card.dataset.part = id;
    stepper.set(parts.map(({ name }) => name), TB_ORDER.indexOf(chosen));
    width.set(widths.map(String), Math.max(0, widths.indexOf(channels)));
    listing.set(part.code.replaceAll("{C}", channels).replaceAll("{4C}", 4 * channels));
    const spent = number.transformer || number.convnext
      ? `Parameters at C = ${channels}: ${tbNumber(number.transformer)} in the Transformer block, ` +
        `${tbNumber(number.convnext)} in ConvNeXt's.`
      : "It has no parameters.";
    // On a slide the table stands beside this, with the same numbers.
    say(`${part.name}: ${part.verdict}. ${part.says} ${obSlide() ? "" : `${spent} `}See ${part.where}.`);
    total.replaceChildren(
      `All parts at C = ${channels}: `, obMake("b", { textContent: tbNumber(counts.totals[0]) }), " and ",
      obMake("b", { textContent: tbNumber(counts.totals[1]) }), " parameters.",
    );
  };

  // ---- Moving with the keys: one stop of Tab in each block ----------------------------------
  const stops = {};
  const setStops = (chosen) => {
    for (const block of Object.keys(TB_BLOCKS)) {
      const next = buttons[block][chosen] ?? stops[block] ?? Object.values(buttons[block])[0];
      if (next === stops[block]) continue;
      if (stops[block]) stops[block].tabIndex = -1;
      stops[block] = next;
      next.tabIndex = 0;
    }
  };
  const key = (event, block, id) => {
    const order = TB_ORDER.filter((name) => buttons[block][name]);
    const at = order.indexOf(id);
    const other = block === "transformer" ? "convnext" : "transformer";
    const beside = { ArrowLeft: "transformer", ArrowRight: "convnext" }[event.key];
    let next;
    if (event.key === "ArrowDown") next = buttons[block][order[at + 1]];
    else if (event.key === "ArrowUp") next = buttons[block][order[at - 1]];
    else if (event.key === "Home") next = buttons[block][order[0]];
    else if (event.key === "End") next = buttons[block][order.at(-1)];
    else if (beside === other) next = buttons[other][id];
    else if (!beside) return;
    event.preventDefault();
    next?.focus({ preventScroll: true });
    if (next) requestAnimationFrame(() => next.scrollIntoView({ block: "nearest" }));
  };

  // ---- The two columns -----------------------------------------------------------------------
  const box = (block, id) => {
    const [text, role] = TB_BOXES[block][id];
    const own = byId[id].name;
    const said = text === "+" ? own : text === "LayerNorm" ? `${text}: ${own}` : text;
    const button = obFocusable(obMake("button", {
      type: "button", className: `tb-box ${role.split(" ").map((one) => (one.startsWith("tb-") ? one : `tb-${one}`)).join(" ")}`,
      tabIndex: -1, "aria-pressed": "false", "aria-label": `${said}, ${TB_BLOCKS[block]}`,
    }));
    // "A: Q, K" stands in one line or, where there is little room, in two.
    const [letter, rest] = text.split(": ");
    button.append(letter);
    if (rest) button.append(obMake("span", { className: "tb-of", textContent: rest }));
    button.obPart = id;
    // After focus() has returned: it settles the layout, which is cheap only before anything changes.
    button.addEventListener("focus", () => queueMicrotask(() => choose(id)));
    button.addEventListener("click", () => choose(id));
    button.addEventListener("keydown", (event) => key(event, block, id));
    buttons[block][id] = button;
    return button;
  };
  const choose = (id) => {
    hover = null;
    if (model.get("value").part === id) show();
    else change({ part: id });
  };
  const place = (element, row, column) => {
    element.style.gridRow = String(row);
    element.style.gridColumn = String(column);
    return element;
  };
  const column = { transformer: 2, convnext: 4 };
  for (const [block, name] of Object.entries(TB_BLOCKS)) {
    grid.append(place(obMake("p", { className: "tb-name", textContent: name }), 1, column[block]));
    const flow = place(obMake("i", { className: "tb-flow", "aria-hidden": "true" }), `2 / ${TB_ROWS.length + 2}`, column[block]);
    grid.append(flow);
    TB_ROWS.forEach((id, n) => {
      let element;
      if (id === "a") {
        const halves = obMake("div", { className: "tb-halves" }, box(block, "a"), box(block, "w"));
        element = obMake("div", { className: "tb-mixer" }, obMake("span", { textContent: TB_MIXERS[block] }), halves);
      } else if (TB_BOXES[block][id]) element = box(block, id);
      else {
        element = obMake("span", { className: "tb-empty", "aria-hidden": "true", textContent: "nothing here" });
        empty[block][id] = element;
      }
      grid.append(place(element, n + 2, column[block]));
    });
  }
  const skip = (from, to, side) =>
    grid.append(place(obMake("i", { className: `tb-skip tb-${side}`, "aria-hidden": "true" }), `${from} / ${to}`, side === "left" ? "1 / 3" : "4 / 6"));
  skip(2, 5, "left");
  skip(5, 11, "left");
  skip(2, 11, "right");
  TB_ROWS.forEach((id, n) => {
    const role = { "token mixing": "token", "channel mixing": "channel" }[TB_BETWEEN[id]] ?? "plain";
    between[id] = place(
      obMake("span", { className: `tb-between tb-${role}`, "aria-hidden": "true" }, obMake("span", { textContent: TB_BETWEEN[id] })),
      n + 2, 3,
    );
    between[id].classList.toggle("tb-alone", !TB_BETWEEN[id]);
    grid.append(between[id]);
  });

  // Hover looks, focus and tap choose.
  grid.addEventListener("pointerover", (event) => {
    const id = event.pointerType === "mouse" ? (event.target.closest?.(".tb-box")?.obPart ?? null) : null;
    if (id === hover) return;
    hover = id;
    show();
  });
  grid.addEventListener("pointerleave", () => {
    if (!hover) return;
    hover = null;
    show();
  });

  const stepper = obSlider({ name: "part", label: "part", onChange: (at) => choose(TB_ORDER[at]) });
  stepper.element.classList.add("tb-stepper");
  const width = obSlider({ name: "channels", label: "channels C", onChange: (at) => change({ channels: widths[at] }) });
  const reset = obButton("Reset", "", () => {
    hover = null;
    change({ ...model.get("start") });
  }, "ob-button ob-reset");
  controls.append(stepper.element, width.element, reset);
  const total = obMake("p", { className: "tb-total" });
  const readout = card.querySelector(".ob-readout");
  const words = obMake("div", { className: "tb-words" }, readout, equation, total, listing.element);
  body.append(obMake("div", { className: "tb-views" }, grid, words));

  const valid = (value) => ({
    part: obAmong(parts.map(({ id }) => id), value.part, model.get("start").part),
    channels: obAmong(widths, value.channels, model.get("start").channels),
  });
  const stop = obState(model, valid, show);
  el.replaceChildren(card);
  return stop;
}

export default { render };
