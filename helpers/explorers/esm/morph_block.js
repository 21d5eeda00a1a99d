// From the Transformer block to the ConvNeXt block: the block of a step, its cost, and its code.

const GROUPS = ["feed_forward", "each_token", "channels", "tokens"];

/**
 * What a block costs, by formula: two lists in the order of GROUPS.
 * parts: what it is built of; reach: whether a pixel reads the image, a window, or through a filter.
 * Multiply-adds are those of Linear layers, convolutions and the products of attention, on one image.
 */
export function compute({ parts, reach, channels: c, kernel: k, heads, height, width }) {
  const pixels = height * width;
  const taps = k * k;
  const has = (part) => parts.includes(part);
  const linear = (from, to) => ({ parameters: from * to + to, macs: pixels * from * to });
  const only = (parameters) => ({ parameters, macs: 0 });
  const costs = {
    norm1: ["each_token", only(2 * c)], norm2: ["each_token", only(2 * c)], gamma: ["each_token", only(c)],
    query: ["tokens", linear(c, c)], key: ["tokens", linear(c, c)],
    table: ["tokens", only(heads * (2 * k - 1) ** 2)],
    "kernel of heads": ["tokens", only(heads * taps)], "kernel of channels": ["tokens", only(c * taps)],
    bias: ["tokens", only(c)],
    value: ["channels", linear(c, c)], output: ["channels", linear(c, c)],
    linear1: ["feed_forward", linear(c, 4 * c)], linear2: ["feed_forward", linear(4 * c, c)],
  };
  const parameters = GROUPS.map(() => 0);
  const macs = GROUPS.map(() => 0);
  const add = (group, cost) => {
    const at = GROUPS.indexOf(group);
    parameters[at] += cost.parameters;
    macs[at] += cost.macs;
  };
  for (const part of parts) add(...costs[part]);
  // Windows cover the image and stick out of it; a filter has all its taps at every pixel.
  const covered = (length) => Math.ceil(length / k) * k;
  const [queries, keys] = {
    image: [pixels, pixels], window: [covered(height) * covered(width), taps], filter: [pixels, taps],
  }[reach];
  add("tokens", { parameters: 0, macs: (has("query") ? 2 : 1) * queries * keys * c });
  return { parameters, macs };
}

const whole = (number) => Math.round(number).toLocaleString("en-US");
const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);
const millions = (macs) => (macs / 1e6).toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const BOX = { width: 240, middle: 172 };
const COINCIDENCE = [8, 13];

/** The block of a step as SVG: boxes, arrows, sums and skips, where Python says that they stand. */
function drawing({ step, places, size, numbers }) {
  const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
  const fill = (text) => escape(text.replace(/\{(\w+)\}/g, (_, name) => numbers[name]));
  const arrow = (points, name = "") => `<polyline class="mb-arrow ${name}" points="${points.map((p) => p.join(",")).join(" ")}"/>`;
  const head = (x, y, angle) => `<path class="mb-head" transform="translate(${x} ${y}) rotate(${angle})" d="M0 0 L-9 -4.5 L-9 4.5 Z"/>`;
  const { width, middle: x } = BOX;
  const out = [];
  const stops = step.boxes.filter((box) => box.change !== "gone").map((box) => box.place).concat("sum2", "bottom");
  if (step.skips.some((skip) => skip.end === "sum1" && skip.change !== "gone")) stops.push("sum1");
  stops.sort((one, other) => places[one][0] - places[other][0]);
  let above = places.top[0];
  for (const place of stops) {
    const [middle, height] = places[place];
    if (place !== "mixer channels") {
      out.push(arrow([[x, above], [x, middle - height / 2 - 4]]), head(x, middle - height / 2, 90));
    }
    above = middle + height / 2;
    if (place.startsWith("sum")) {
      out.push(`<circle class="mb-sum" cx="${x}" cy="${middle}" r="12"/>`);
      out.push(`<text class="mb-name" x="${x}" y="${middle}">+</text>`);
    }
  }
  for (const { place, text, note, role, computed, change } of step.boxes) {
    const [middle, height] = places[place];
    const top = middle - height / 2;
    const look = change === "gone" ? "mb-gone" : `mb-${role}${computed ? " mb-computed" : ""}`;
    out.push(`<rect class="mb-box ${look}" x="${x - width / 2}" y="${top}" width="${width}" height="${height}" rx="5"/>`);
    const name = change === "gone" ? `gone: ${fill(text)}` : fill(text);
    const lift = note ? -11 : 0;
    out.push(`<text class="${change === "gone" ? "mb-note" : "mb-name"}" x="${x}" y="${middle + lift}">${name}</text>`);
    if (note) out.push(`<text class="mb-note" x="${x}" y="${middle + 12}">${change === "gone" ? "" : fill(note)}</text>`);
    if (change === "new") out.push(`<rect class="mb-new" x="${x + width / 2 + 4}" y="${top}" width="4" height="${height}"/>`);
  }
  for (const { start, end, change } of step.skips) {
    const gone = change === "gone";
    const [top, bottom] = [places[start][0] + 6, places[end][0]];
    const away = start === "top" && end === "sum2" ? 16 : 34;
    const edge = gone && end === "sum1" ? x : x - 12;
    out.push(arrow([[x, top], [away, top], [away, bottom], [edge - (gone ? 0 : 5), bottom]], `mb-skip ${gone ? "mb-gone" : ""} ${change === "new" ? "mb-strong" : ""}`));
    if (!gone) out.push(head(edge, bottom, 0));
  }
  return `<svg class="mb-drawing" viewBox="0 0 ${size[0]} ${size[1]}" role="img"><g aria-hidden="true">${out.join("")}</g></svg>`;
}

/** What the drawing shows, for who cannot see it. */
function inWords({ step, numbers }) {
  const fill = (text) => text.replace(/\{(\w+)\}/g, (_, name) => numbers[name]);
  const named = (change) => step.boxes.filter((box) => box.change === change).map((box) => fill(box.text));
  const boxes = step.boxes.filter((box) => box.change !== "gone").map((box) => {
    const how = box.computed ? ", computed from the input" : "";
    return fill(box.note ? `${box.text} (${box.note}${how})` : box.text);
  });
  const skips = step.skips.filter((skip) => skip.change !== "gone").map((skip) => {
    if (skip.end === "sum1") return "a skip around the token mixing";
    return skip.start === "top" ? "a skip around the whole block" : "a skip around norm and feed-forward";
  });
  const gone = named("gone");
  return `The block, from top to bottom: ${boxes.join("; ")}. With ${skips.join(" and ")}.` + (gone.length ? ` Gone: ${gone.join(", ")}.` : "");
}

/** The parts of a step as PyTorch, then the lines it runs. */
function code({ at, step, channels: c, kernel: k, heads, cost }) {
  const has = (part) => step.parts.includes(part);
  const lines = [`d = ${c} // ${heads}`].filter(() => step.code.some((line) => /\bd\b/.test(line)));
  for (const norm of ["norm1", "norm2"]) if (has(norm)) lines.push(`${norm} = nn.LayerNorm(${c}, eps=1e-6)`);
  for (const part of ["query", "key", "value", "output"]) if (has(part)) lines.push(`${part} = nn.Linear(${c}, ${c})`);
  if (has("table")) lines.push(`table = nn.Parameter(torch.zeros(${heads}, ${(2 * k - 1) ** 2}))  # a number for each offset`);
  if (has("kernel of heads")) lines.push(`kernel = nn.Parameter(torch.zeros(${heads}, ${k * k}))`);
  if (has("kernel of channels")) lines.push(`kernel = nn.Parameter(torch.zeros(${c}, ${k * k}))`);
  if (has("bias")) lines.push(`bias = nn.Parameter(torch.zeros(${c}))`);
  lines.push(`linear1, linear2 = nn.Linear(${c}, ${4 * c}), nn.Linear(${4 * c}, ${c})`);
  if (has("gamma")) lines.push(`gamma = nn.Parameter(torch.ones(${c}))`);
  return [
    ...lines, "", "# x: (B, H, W, C)", ...step.code, "",
    "# The same, ready to run:",
    "from helpers.morph import MORPH",
    `block = MORPH[${at}].build(channels=${c}, kernel_size=${k}, heads=${heads})`,
    `sum(p.numel() for p in block.parameters())  # ${whole(sum(cost.parameters))}`,
  ].join("\n");
}

function render({ model, el }) {
  const steps = model.get("steps");
  const last = steps.length - 1;
  const names = model.get("groups");
  const [kernels, offers] = [model.get("kernels"), model.get("heads_on_offer")];
  const [channels, size] = [model.get("channels"), model.get("size")];
  const { card, controls, body, readout, say } = obCard(model, "morph_block");

  // ---- Parts of the page -----------------------------------------------------------------------
  const number = obMake("span", { className: "mb-number" });
  const name = obMake("span", { className: "mb-title" });
  const known = obMake("span", { className: "mb-known" });
  const change = obMake("p", { className: "mb-change" });
  const kind = obMake("p", { className: "mb-kind" });
  const holder = obMake("div", { className: "mb-holder" });
  const diff = obFocusable(obMake("pre", { className: "mb-diff", tabIndex: 0, role: "group" }));
  const listing = obCode();

  /** A chart with a column for each step, stacked by group; the chosen one is outlined. */
  const chart = (what, unit) => {
    const value = obMake("strong");
    const split = obMake("span", { className: "mb-split" });
    const columns = obMake("div", { className: "mb-columns", "aria-hidden": "true" });
    const bars = steps.map((_, at) => {
      const parts = GROUPS.map((group) => obMake("i", { className: `mb-of mb-${group}` }));
      const stack = obMake("span", { className: "mb-stack" }, ...[...parts].reverse());
      const column = obMake("span", { className: "mb-column" }, stack, obMake("span", { className: "mb-at", textContent: String(at) }));
      column.addEventListener("click", () => go(at));
      columns.append(column);
      return { column, parts };
    });
    const element = obMake("div", { className: "mb-chart" }, obMake("p", { className: "mb-head-line" }, `${what}: `, value, ` ${unit}`), split, columns);
    const set = (costs, at, text) => {
      const most = Math.max(...costs.map(sum));
      bars.forEach(({ column, parts }, n) => {
        parts.forEach((part, g) => part.style.setProperty("height", `${((100 * costs[n][g]) / most).toFixed(2)}%`));
        column.classList.toggle("mb-chosen", n === at);
      });
      value.textContent = text(sum(costs[at]));
      const shown = GROUPS.map((group, g) => [group, costs[at][g]]).filter(([, count]) => count > 0);
      split.replaceChildren(...shown.map(([group, count]) =>
        obMake("span", { className: "mb-count" },
          obMake("i", { className: `mb-of mb-${group}`, "aria-hidden": "true" }), `${names[group]} ${text(count)}`)));
    };
    return { element, set };
  };
  const legend = obMake("p", { className: "mb-legend" }, ...GROUPS.map((group) =>
    obMake("span", { className: "mb-count" }, obMake("i", { className: `mb-of mb-${group}`, "aria-hidden": "true" }), names[group])));
  const parametersChart = chart("Parameters", "");
  const macsChart = chart("Multiply-adds", "million");

  const rows = steps.map((step, at) => {
    const cells = [obMake("td"), obMake("td")];
    return { cells, line: obMake("tr", {}, obMake("th", { scope: "row", textContent: `${at}. ${step.name}` }), ...cells) };
  });
  const table = obMake("table", { className: "mb-table" },
    obMake("thead", {}, obMake("tr", {}, ...["step", "parameters", "multiply-adds, million"].map((text) => obMake("th", { scope: "col", textContent: text })))),
    obMake("tbody", {}, ...rows.map(({ line }) => line)));
  const all = obMake("details", { className: "ob-code mb-all" }, obFocusable(obMake("summary", { textContent: "All steps in a table" })), table);

  body.append(obMake("div", { className: "mb-views" },
    obMake("div", { className: "mb-words" },
      obMake("p", { className: "mb-heading" }, number, name),
      change, " ", kind),
    diff, holder,
    obMake("div", { className: "mb-charts" }, legend, parametersChart.element, macsChart.element)), readout, listing.element, all);

  // ---- Controls ------------------------------------------------------------------------------
  const set = (entries) => obChange(model, entries);
  const go = (to) => {
    if (to >= 0 && to <= last && to !== model.get("value").step) set({ step: to });
  };
  const back = obButton("\u2190 Back", "", () => go(model.get("value").step - 1), "ob-button mb-back");
  const next = obButton("Next \u2192", "", () => go(model.get("value").step + 1), "ob-button mb-next");
  const slider = obSlider({ name: "step", label: "step", onChange: (at) => go(at) });
  slider.element.classList.add("mb-step");
  const kernel = obRadios({ name: "kernel", label: "kernel", onChange: (at) => set({ kernel: kernels[at] }) });
  const heads = obSlider({ name: "heads", label: "heads", onChange: (at) => set({ heads: offers[at] }) });
  const reset = obButton("Reset", "", () => set({ ...model.get("start") }), "ob-button ob-reset");
  controls.append(obMake("div", { className: "mb-nav" }, back, slider.element, next), kernel.element, heads.element, reset);
  // Left and right go a step wherever they have no meaning of their own.
  card.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, pre")) return;
    event.preventDefault();
    go(model.get("value").step + by);
  });

  // ---- What the model says -----------------------------------------------------------------------
  let counted = "";
  let costs = [];
  const count = (value) => {
    if (counted === `${value.kernel} ${value.heads}`) return;
    counted = `${value.kernel} ${value.heads}`;
    costs = steps.map((step) => compute({ ...step, channels, ...value, height: size, width: size }));
    rows.forEach(({ cells: [one, other] }, at) => {
      one.textContent = whole(sum(costs[at].parameters));
      other.textContent = millions(sum(costs[at].macs));
    });
  };
  const show = () => {
    const value = model.get("value");
    const at = value.step;
    const step = steps[at];
    const numbers = { channels, kernel: value.kernel, heads: value.heads };
    count(value);
    card.dataset.step = at;
    slider.set(steps.map((_, n) => String(n)), at);
    kernel.set(kernels.map((k) => `${k}\u00d7${k}`), kernels.indexOf(value.kernel));
    heads.set(offers.map(String), offers.indexOf(value.heads));
    back.setAttribute("aria-disabled", String(at === 0));
    next.setAttribute("aria-disabled", String(at === last));

    number.textContent = `Step ${at} of ${last}: `;
    name.textContent = step.name;
    known.textContent = step.known;
    change.replaceChildren(step.change, step.known ? " " : "", known);
    kind.textContent = at === 0 ? "" : `This step: ${step.kind}.`;
    const picture = obSvg(drawing({ step, places: model.get("places"), size: model.get("drawing"), numbers }));
    picture.setAttribute("aria-label", inWords({ step, numbers }));
    holder.replaceChildren(picture);
    diff.setAttribute("aria-label", `Code of step ${at}${at ? ", with the lines that changed" : ""}`);
    diff.replaceChildren(...step.diff.map(([mark, line]) =>
      obMake(mark === "-" ? "del" : mark === "+" ? "ins" : "span", { textContent: `${mark === "-" ? "\u2212" : mark} ${line}\n` })));
    parametersChart.set(costs.map(({ parameters }) => parameters), at, whole);
    macsChart.set(costs.map(({ macs }) => macs), at, millions);
    listing.set(code({ at, step, ...numbers, cost: costs[at] }));

    const [total, macs] = [sum(costs[at].parameters), sum(costs[at].macs)];
    const forward = costs[at].parameters[0];
    const projections = [["V", "value"], ["O", "output"]].filter(([, part]) => step.parts.includes(part)).map(([letter]) => letter);
    const mixing = (n) => whole(costs[n].parameters[2] + costs[n].parameters[3]);
    const end = at === last ? "." : `, at the end ${mixing(last)}.`;
    const same = COINCIDENCE.includes(at)
      ? ` Steps ${COINCIDENCE.join(" and ")} have one count by coincidence: a norm of ${2 * channels} parameters goes, ` +
        `${channels} biases and ${channels} scales come.`
      : "";
    // On a slide the name of the step and the numbers stand above in large letters.
    const first = obSlide()
      ? ""
      : `Step ${at} of ${last}, ${step.name}: ${whole(total)} parameters and ${millions(macs)} million multiply-adds. `;
    say(
      `${first}The feed-forward holds ${whole(forward)} of the parameters (${((100 * forward) / total).toFixed(1)}\u00a0%), ` +
        `as many as at every step. The mixing of tokens${projections.length ? `, ${projections.join(" and ")} included,` : ""} holds ${mixing(at)}${end}${same}`,
    );
  };
  const valid = (value) => {
    const start = model.get("start");
    return {
      step: obWhole(value.step, 0, last, start.step),
      kernel: obAmong(kernels, value.kernel, start.kernel), heads: obAmong(offers, value.heads, start.heads),
    };
  };
  const stop = obState(model, valid, show);
  el.replaceChildren(card);
  return stop;
}

export default { render };
