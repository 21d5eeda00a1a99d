// Block designer: the choices, the block that they make, what it costs, and the recorded runs.

const TOKENS = 49; // 28 x 28 pixels in patches of 4 x 4
const PATCH = 16;
const CLASSES = 10;
const CHANNELS = 32;
const DEEPEST = 36;
const WINDOWED = ["pooling", "depthwise", "LightConv", "local attention"];
const HEADED = ["LightConv", "local attention", "attention"];
const AFTER = 200;

/** The parts of a block: token mixing by parameters and by products, V and O, feed-forward, norms. */
const PARTS = [
  { name: "token mixing", short: "A", kind: "tokens" },
  { name: "q k\u1d40 and A v", short: "q k\u1d40, A v", kind: "tokens", computed: true },
  { name: "V, O", short: "V, O", kind: "striped" },
  { name: "feed-forward", short: "feed-forward", kind: "channels" },
  { name: "norms", short: "", kind: "each" },
];
const AROUND = { short: "outside", kind: "rest" };

/** One block: parameters and multiply-adds of the five parts. */
function block({ tokens, expansion: e, kernel_size: k, heads, norms, channels: c }) {
  const forward = e ? [2 * e * c * c + (e + 1) * c, 2 * e * c * c * TOKENS] : [0, 0];
  const pair = [2 * (c * c + c), 2 * c * c * TOKENS]; // two of the four projections
  const none = [0, 0];
  const [mixing, products, values] = {
    identity: () => [none, none, none],
    pooling: () => [none, none, none],
    depthwise: () => [[(k * k + 1) * c, k * k * c * TOKENS], none, none],
    LightConv: () => [[heads * k * k, k * k * c * TOKENS], none, none],
    "local attention": () => [pair, [0, 2 * k * k * c * TOKENS], pair],
    attention: () => [pair, [0, 2 * TOKENS * TOKENS * c], pair],
  }[tokens]();
  return [mixing, products, values, forward, [2 * c * norms, 0]];
}

/** Patches, positions, the last norm and the head: what a network has besides its blocks. */
const around = (c) => [
  PATCH * c + c + TOKENS * c + 2 * c + (c + 1) * CLASSES, PATCH * c * TOKENS + c * CLASSES,
];
const total = (numbers) => numbers.reduce((sum, one) => sum + one, 0);

/** Round as Python does: halves go to the even neighbour. */
function round(number) {
  const floor = Math.floor(number);
  return number - floor === 0.5 ? floor + (floor % 2) : Math.round(number);
}

/**
 * What a block costs, part by part (the order of PARTS), and a network of such blocks.
 * tokens, expansion, kernel_size, heads, norms: as in BlockDesign; depth: how many blocks, 0 for as
 * many as come nearest to the limit, a number of parameters.
 */
export function compute({ depth, limit, channels = CHANNELS, ...choices }) {
  const parts = block({ ...choices, channels });
  const [parameters, macs] = [0, 1].map((of) => parts.map((part) => part[of]));
  const [outside, outsideMacs] = around(channels);
  const blocks = depth || Math.max(1, round((limit - outside) / total(parameters)));
  return {
    parameters, macs, depth: blocks,
    network: [outside + blocks * total(parameters), outsideMacs + blocks * total(macs)],
  };
}

/**
 * How a block is wired, step by step: "norm", "mixer" and "feed-forward" act on what came before,
 * and "add" adds to it what stood `from` steps after the start.
 */
export function structure({ expansion, norms, skips }) {
  const steps = [];
  if (norms === 2 || !expansion) steps.push({ part: "norm" });
  steps.push({ part: "mixer" });
  if (!expansion) return [...steps, { part: "add", from: 0 }];
  let from = 0;
  if (skips === 2) {
    steps.push({ part: "add", from });
    from = steps.length;
  }
  return [...steps, { part: "norm" }, { part: "feed-forward" }, { part: "add", from }];
}

/** The choices that make a difference. */
export function used({ tokens, kernel_size, heads, expansion, norms, skips, channels = CHANNELS }) {
  return {
    tokens,
    ...(WINDOWED.includes(tokens) ? { kernel_size } : {}), ...(HEADED.includes(tokens) ? { heads } : {}),
    expansion, norms, skips, channels,
  };
}

/** The choices in which a design differs from another: for each the other's value, then its own. */
export function changes(design, other) {
  const theirs = used(other);
  return Object.entries(used(design))
    .filter(([field, value]) => field in theirs && theirs[field] !== value)
    .map(([field, value]) => [field, theirs[field], value]);
}

const same = (one, other) =>
  Object.keys({ ...one, ...other }).every((field) => one[field] === other[field]);
const whole = (number) => number.toLocaleString("en-US");
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const plural = (count, what) => `${count} ${what}${count > 1 ? "s" : ""}`;
const inWords = (count, what) => (count > 1 ? `two ${what}s` : `one ${what}`);
const mean = (numbers) => total(numbers) / numbers.length;

/** The name of a mixer with its window. */
const mixerName = ({ tokens, kernel_size: k }) =>
  WINDOWED.includes(tokens) ? `${tokens} ${k}\u00d7${k}` : tokens;

/** What a design is made of, in words. */
function what(design) {
  const name = mixerName(design);
  return [
    name[0].toUpperCase() + name.slice(1),
    ...(HEADED.includes(design.tokens) ? [plural(design.heads, "head")] : []),
    design.expansion ? `feed-forward \u00d7${design.expansion}` : "no feed-forward",
    inWords(design.norms, "norm"), inWords(design.skips, "skip"),
  ].join(", ");
}

/** Where a network stands to the budget: "0.4 % under". */
const beside = (parameters, limit) =>
  `${((100 * Math.abs(parameters - limit)) / limit).toFixed(1)} % ${parameters > limit ? "over" : "under"}`;

const found = (value, depth, runs) =>
  runs.filter((run) => run.depth === depth && same(run.choices, used(value)));

/** How a design differs from the two blocks, field by field. */
function differences(value, presets, brief) {
  return ["ConvNeXt's block", "Transformer's block"].map((name) => {
    const whose = name.startsWith("T") ? `the ${name}` : name;
    const listed = changes(value, presets[name]).map(([field, old, now]) =>
      brief ? field : `${field} (${old} \u2192 ${now})`);
    return listed.length ? `From ${whose} it differs in ${listed.join(", ")}.` : `It is ${whose}.`;
  }).join(" ");
}

/** What is chosen, what it costs, how it differs, and what is known of it: the readout. */
export function sentence(value, presets, runs, limit) {
  const { parameters, macs, depth, network } = compute({ ...value, limit });
  const [run] = found(value, depth, runs);
  const how = run
    ? `${run.mine ? "Your" : "Recorded"} run${run.accuracies.length > 1 ? "s" : ""} after ${AFTER} steps: ` +
      `${mean(run.accuracies).toFixed(2)} of the test images named right.`
    : "Not trained yet.";
  const blocks = plural(depth, "block");
  const fits = value.depth
    ? `${blocks}: ${beside(network[0], limit)} the budget.`
    : `${blocks} ${depth > 1 ? "come" : "comes"} nearest to the budget: ${beside(network[0], limit)} it.`;
  return (
    `${what(value)}: ${whole(total(parameters))} parameters and ${whole(total(macs))} multiply-adds a block. ` +
    `${fits} ${differences(value, presets)} ${how}`
  );
}

/** The line that the page takes, and what it builds and costs. */
export function code(value, limit) {
  const defaults = { kernel_size: 3, heads: 2, expansion: 4, norms: 2, skips: 2, channels: CHANNELS };
  const { tokens, ...others } = used(value);
  const named = Object.entries(others).filter(([field, choice]) => choice !== defaults[field]);
  const given = [`"${tokens}"`, ...named.map(([field, choice]) => `${field}=${choice}`)].join(", ");
  const { parameters, depth, network } = compute({ ...value, limit });
  const line = (text, result) => `${text.padEnd(44)} # ${result}`;
  return [
    `design = BlockDesign(${given})`,
    line(`depth = ${value.depth || "fitting_depth(design)"}`, depth),
    "",
    line("design.budget().parameters", whole(total(parameters))),
    line("network_budget(design, depth).parameters", whole(network[0])),
  ].join("\n");
}

// ---- The drawing of the block --------------------------------------------------------------------

const BOX = { left: 52, width: 244, middle: 174, right: 296 };
const HEIGHT = { norm: 28, mixer: 58, values: 28, "feed-forward": 48, add: 24 };
const GAP = 17;
const SIZE = [312, 382];

/** What the boxes say: a name, a note, and the look that tells whose choice the weights are. */
function mixerBox({ tokens, kernel_size: k, heads }) {
  const kernels = plural(heads, "kernel");
  return {
    identity: { note: "reads itself only", look: "bk-fixed" },
    pooling: { note: `mean of ${k * k} \u2212 itself`, look: "bk-token bk-fixed" },
    depthwise: { note: `${CHANNELS} kernels, any sign`, look: "bk-token" },
    LightConv: { note: `${kernels}, softmax`, look: "bk-token" },
    "local attention": { note: `A: ${plural(heads, "head")}, softmax`, look: "bk-token bk-computed" },
    attention: { note: `A: ${plural(heads, "head")}, softmax`, look: "bk-token bk-computed" },
  }[tokens];
}

/** Which of the 7 x 7 tokens the one in the middle reads. */
function reads({ tokens, kernel_size: k }) {
  if (tokens === "attention") return 3;
  return WINDOWED.includes(tokens) ? (k - 1) / 2 : 0;
}

function reading(value, look, x, y) {
  const reach = reads(value);
  const side = 6;
  const cells = [];
  for (let r = 0; r < 7; r += 1) {
    for (let c = 0; c < 7; c += 1) {
      const inside = Math.max(Math.abs(r - 3), Math.abs(c - 3)) <= reach;
      const name = r === 3 && c === 3 ? "bk-self" : inside ? "bk-read" : "bk-unread";
      cells.push(`<rect class="${name}" x="${x + side * c}" y="${y + side * r}" width="${side}" height="${side}"/>`);
    }
  }
  return `<g class="bk-grid ${look}">${cells.join("")}</g>`;
}

/** The block as SVG, from top to bottom. */
function drawing(value) {
  const steps = structure(value);
  const out = [];
  const x = BOX.middle;
  const head = (px, py, angle) => `<path class="bk-head" transform="translate(${px} ${py}) rotate(${angle})" d="M0 0 L-9 -4.5 L-9 4.5 Z"/>`;
  const line = (...points) => `<polyline class="bk-line" points="${points.map((p) => p.join(",")).join(" ")}"/>`;
  const box = (look, y, height, name, note, shift = 0) => {
    out.push(`<rect class="bk-box ${look}" x="${BOX.left}" y="${y}" width="${BOX.width}" height="${height}" rx="5"/>`);
    out.push(`<text class="bk-name" x="${x - shift}" y="${y + height / 2 - (note ? 11 : 0)}">${name}</text>`);
    if (note) out.push(`<text class="bk-note" x="${x - shift}" y="${y + height / 2 + 12}">${note}</text>`);
  };
  const { note, look } = mixerBox(value);
  let y = 4;
  const starts = [y + 5]; // where a skip leaves the line: behind the start, or behind a sum
  steps.forEach((step) => {
    const top = y + GAP;
    out.push(line([x, y], [x, top - 4]), head(x, top, 90));
    if (step.part === "add") {
      const middle = top + 12;
      const away = step.from === 0 && value.skips === 1 ? 14 : 30;
      out.push(line([x, starts[step.from]], [away, starts[step.from]], [away, middle], [x - 17, middle]), head(x - 12, middle, 0));
      out.push(`<circle class="bk-sum" cx="${x}" cy="${middle}" r="12"/><text class="bk-name" x="${x}" y="${middle}">+</text>`);
    } else if (step.part === "mixer") {
      box(look, top, HEIGHT.mixer, mixerName(value), note, 24);
      out.push(reading(value, look, BOX.right - 50, top + 8));
    } else if (step.part === "norm") box("bk-each", top, HEIGHT.norm, "LayerNorm");
    else box("bk-channel", top, HEIGHT["feed-forward"], `feed-forward \u00d7${value.expansion}`, `${CHANNELS} \u2192 ${CHANNELS * value.expansion} \u2192 ${CHANNELS}`);
    y = top + HEIGHT[step.part];
    if (step.part === "mixer" && value.tokens.endsWith("attention")) {
      box("bk-channel", y + 3, HEIGHT.values, "W from V and O");
      y += 3 + HEIGHT.values;
    }
    starts.push(y + 5);
  });
  out.push(line([x, y], [x, y + GAP - 4]), head(x, y + GAP, 90));
  return `<svg class="bk-drawing" viewBox="0 0 ${SIZE[0]} ${SIZE[1]}" role="img"><g aria-hidden="true">${out.join("")}</g></svg>`;
}

/** What the drawing shows, for who cannot see it. */
function drawingInWords(value) {
  const { note } = mixerBox(value);
  const reach = 2 * reads(value) + 1;
  const names = structure(value).map(({ part, from }) => ({
    norm: "LayerNorm", mixer: `${mixerName(value)} (${note}; the middle token reads ${reach * reach} of 49)`,
    "feed-forward": `feed-forward \u00d7${value.expansion}`,
    add: from === 0 ? "plus what came in" : "plus what the first half gave",
  })[part]);
  return `The block, from top to bottom: ${names.join("; ")}.`;
}

// ---- The recorded runs ---------------------------------------------------------------------------

const PLOT = { width: 388, height: 236, left: 34, right: 196, top: 16, bottom: 200, names: 222, gap: 18, below: [13, 29] };
/** In front of a class the letters are larger, and have more room. */
const LARGE_PLOT = { width: 444, height: 240, left: 42, right: 158, top: 16, bottom: 190, names: 182, gap: 23, below: [16, 39] };

/** Round numbers between two ends, a few of them. */
function ticks(low, high) {
  const decade = 10 ** Math.floor(Math.log10(high - low));
  const step = [0.1, 0.2, 0.5, 1, 2, 5].map((n) => n * decade).find((one) => (high - low) / one <= 3);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) found.push(n * step);
  return found;
}

/** Move labels apart that would touch: their middles, from top to bottom. */
function apart(wanted, gap, top, bottom) {
  const order = wanted.map((_, at) => at).sort((one, other) => wanted[one] - wanted[other]);
  const at = [...wanted];
  order.forEach((n, i) => (at[n] = Math.max(at[n], i ? at[order[i - 1]] + gap : top)));
  [...order].reverse().forEach((n, i, all) => (at[n] = Math.min(at[n], i ? at[all[i - 1]] - gap : bottom)));
  return at;
}

const short = (n) => (n >= 1e6 ? `${obText(n / 1e6)}\u00a0M` : `${obText(n / 1e3, 1)}\u00a0k`);

/** Accuracies over a cost as SVG: a dot for the mean, a line from the least to the most. */
function plot({ value, network, depth, runs, at }) {
  const key = value.over === "parameters" ? "parameters" : "macs";
  const mine = network[key === "macs" ? 1 : 0];
  const shown = found(value, depth, runs);
  const costs = [mine, ...runs.map((run) => run[key])];
  const [least, most] = [Math.min(...costs), Math.max(...costs)];
  const pad = (most - least) * 0.06;
  const [low, high] = [least - pad, most + pad];
  const px = (cost) => at.left + ((cost - low) / (high - low)) * (at.right - at.left);
  const floor = Math.min(0.4, Math.floor(10 * Math.min(...runs.flatMap((run) => run.accuracies))) / 10);
  const py = (share) => at.bottom - ((share - floor) / (1 - floor)) * (at.bottom - at.top);
  const out = [];
  for (let share = 1; share > floor - 0.01; share -= 0.2) {
    out.push(`<line class="bk-rule" x1="${at.left}" x2="${at.right}" y1="${py(share)}" y2="${py(share)}"/>`);
    out.push(`<text class="bk-tick bk-end" x="${at.left - 5}" y="${py(share)}">${share.toFixed(1)}</text>`);
  }
  for (const cost of ticks(low, high)) {
    out.push(`<line class="bk-rule" x1="${px(cost)}" x2="${px(cost)}" y1="${at.bottom}" y2="${at.bottom + 4}"/>`);
    out.push(`<text class="bk-tick bk-mid" x="${px(cost)}" y="${at.bottom + at.below[0]}">${short(cost)}</text>`);
  }
  out.push(`<text class="bk-tick bk-mid" x="${(at.left + at.right) / 2}" y="${at.bottom + at.below[1]}">${value.over}</text>`);
  if (!shown.length) {
    out.push(`<line class="bk-here" x1="${px(mine)}" x2="${px(mine)}" y1="${at.top}" y2="${at.bottom}"/>`);
    out.push(`<path class="bk-head" d="M${px(mine)} ${at.top} l-6 -11 h12 Z"/>`);
  }
  const middles = runs.map((run) => py(mean(run.accuracies)));
  const rows = apart(middles, at.gap, at.top, at.bottom);
  runs.forEach((run, n) => {
    const [x, y] = [px(run[key]), middles[n]];
    const chosen = shown.includes(run);
    const name = `bk-run${chosen ? " bk-chosen" : ""}${run.mine ? " bk-mine" : ""}`;
    const [bottom, top] = [Math.min(...run.accuracies), Math.max(...run.accuracies)].map(py);
    out.push(`<line class="bk-lead" x1="${x}" y1="${y}" x2="${at.names - 4}" y2="${rows[n]}"/>`);
    out.push(`<line class="bk-spread" x1="${x}" x2="${x}" y1="${bottom}" y2="${top}"/>`);
    out.push(run.mine
      ? `<path class="bk-dot ${name}" d="M${x} ${y - 8} l8 8 l-8 8 l-8 -8 Z"/>`
      : `<circle class="bk-dot ${name}" cx="${x}" cy="${y}" r="${chosen ? 7 : 5}"/>`);
    out.push(`<text class="bk-tick ${name}" x="${at.names}" y="${rows[n]}">${mean(run.accuracies).toFixed(2)} ${plain(run.name)}</text>`);
  });
  return `<svg class="bk-plot" viewBox="0 0 ${at.width} ${at.height}" role="img"><g aria-hidden="true">${out.join("")}</g></svg>`;
}

const plotInWords = (runs) =>
  `Share of test images named right: ${runs.map((run) => `${run.name} ${mean(run.accuracies).toFixed(2)}`).join(", ")}.`;

// ---- The figure ------------------------------------------------------------------------------------

function render({ model, el }) {
  const [options, presets, limit] = [model.get("options"), model.get("presets"), model.get("limit")];
  const names = Object.keys(presets);
  const { card, controls, body, readout, say } = obCard(model, "block_designer");
  const value = () => model.get("value");
  const large = obSlide() || obLecture();
  let wiring = null; // the norms and skips to which a feed-forward that comes back gives the block

  // ---- Changes -------------------------------------------------------------------------------
  const put = (now) => obChange(model, now);
  /** Give the nearest state that exists: a block of one half has one norm and one skip. */
  const settled = (now) => {
    const one = { ...now };
    if (one.tokens === "identity" && !one.expansion) one.expansion = 1;
    return one.expansion ? one : { ...one, norms: 1, skips: 1 };
  };
  const change = (entries) => {
    const [before, now] = [value(), settled({ ...value(), ...entries })];
    if (before.expansion && !now.expansion) wiring = { norms: before.norms, skips: before.skips };
    if (!before.expansion && now.expansion && wiring) Object.assign(now, wiring);
    put(now);
  };
  const forget = (now) => {
    wiring = null;
    put(now);
  };

  // ---- Controls ------------------------------------------------------------------------------
  const radios = (name, label, choices) =>
    obRadios({ name, label, onChange: (at) => change({ [name]: choices()[at] }) });
  const slider = (name, label, choices) =>
    obSlider({ name, label, onChange: (at) => change({ [name]: choices()[at] }) });
  const expansions = () => options.expansion.filter((e) => e || value().tokens !== "identity");
  const wirings = () => (value().expansion ? [1, 2] : [1]);
  const deep = Array.from({ length: DEEPEST }, (_, n) => n + 1);

  const start = obRadios({ name: "start", label: "start from", onChange: (at) => forget({ ...value(), ...presets[names[at]] }) });
  start.set(names, 0);
  const starts = [...start.element.querySelectorAll("input")];
  const tokens = radios("tokens", "token mixer", () => options.tokens);
  const kernel = slider("kernel_size", "window k", () => options.kernel_size);
  const heads = slider("heads", "heads H", () => options.heads);
  const expansion = slider("expansion", "feed-forward", expansions);
  const norms = radios("norms", "norms", wirings);
  const skips = radios("skips", "skips", wirings);
  const depth = slider("depth", "blocks", () => deep);
  const over = radios("over", "runs over", () => options.over);
  const fit = obFocusable(obMake("input", { type: "checkbox", id: obId("fit") }));
  fit.addEventListener("change", () =>
    change({ depth: fit.checked ? 0 : Math.min(DEEPEST, compute({ ...value(), limit }).depth) }));
  const fits = obMake("div", { className: "ob-control" },
    obMake("label", { className: "ob-label", for: fit.id, textContent: "as many as fit the budget" }), fit);
  const reset = obButton("Reset", "", () => forget({ ...model.get("start") }), "ob-button ob-reset");
  for (const { element } of [start, tokens]) element.classList.add("bk-wide");
  controls.append(
    start.element, tokens.element, kernel.element, heads.element, expansion.element, norms.element, skips.element,
    depth.element, fits, over.element, reset,
  );

  // ---- Views ---------------------------------------------------------------------------------
  const holder = obMake("div", { className: "bk-holder" });
  const bars = ["parameters", "macs", "network"].map(() => {
    const [head, bar] = [obMake("p", { className: "bk-bar-head" }), obStack()];
    return { head, bar, element: obMake("div", { className: "bk-bar" }, head, bar.element) };
  });
  const budgetLine = obMake("i", { className: "bk-limit", "aria-hidden": "true" });
  bars[2].element.append(budgetLine);
  const known = obMake("p", { className: "bk-known" });
  const runsHolder = obMake("div", { className: "bk-runs" });
  const cells = [...PARTS, {}].map(() => [obMake("td"), obMake("td")]);
  const costs = obMake("table", { className: "ob-table bk-table" },
    obMake("caption", { textContent: "A block, part by part" }),
    obMake("thead", {}, obMake("tr", {}, obMake("td", { className: "ob-corner" }),
      ...["parameters", "multiply-adds"].map((text) => obMake("th", { scope: "col", textContent: text })))),
    obMake("tbody", {}, ...cells.map((line, at) => obMake("tr", { className: PARTS[at] ? "" : "bk-total" },
      obMake("th", { scope: "row" },
        obMake("span", { className: `bk-key ${PARTS[at] ? `ob-${PARTS[at].kind}${PARTS[at].computed ? " ob-computed" : ""}` : ""}`, "aria-hidden": "true" }),
        PARTS[at]?.name ?? "total"), ...line))));
  const FIELDS = [["tokens", "token mixer"], ["kernel_size", "window"], ["heads", "heads"], ["expansion", "feed-forward \u00d7"], ["norms", "norms"], ["skips", "skips"]];
  const compared = ["ConvNeXt's block", "Transformer's block"];
  const choices = FIELDS.map(() => Array.from({ length: 3 }, () => obMake("td")));
  const table = obMake("table", { className: "ob-table bk-table bk-choices" },
    obMake("caption", { textContent: "The choices; \u2260 marks what this block has otherwise" }),
    obMake("thead", {}, obMake("tr", {}, obMake("td", { className: "ob-corner" }),
      ...["this block", "ConvNeXt's", "Transformer's"].map((text) => obMake("th", { scope: "col", textContent: text })))),
    obMake("tbody", {}, ...FIELDS.map(([, label], at) => obMake("tr", {}, obMake("th", { scope: "row", textContent: label }), ...choices[at]))));
  const listing = obCode();
  body.append(
    obMake("div", { className: "bk-views" }, holder,
      obMake("div", { className: "bk-bars" }, ...bars.map(({ element }) => element)),
      obMake("div", { className: "bk-chart" }, known, runsHolder)),
    readout, obMake("div", { className: "bk-tables" }, table, costs), listing.element,
  );

  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const showControls = (now, count) => {
    starts.forEach((input, at) => (input.checked = same(used(now), used(presets[names[at]]))));
    tokens.set(options.tokens, options.tokens.indexOf(now.tokens));
    kernel.set(options.kernel_size.map(String), options.kernel_size.indexOf(now.kernel_size));
    heads.set(options.heads.map(String), options.heads.indexOf(now.heads));
    obHide(kernel.element, !WINDOWED.includes(now.tokens));
    obHide(heads.element, !HEADED.includes(now.tokens));
    expansion.set(expansions().map((e) => (e ? `\u00d7${e}` : "none")), expansions().indexOf(now.expansion));
    norms.set(wirings().map(String), now.norms - 1);
    skips.set(wirings().map(String), now.skips - 1);
    fit.checked = !now.depth;
    // What fits may be more than the slider offers: it shows that number alone.
    if (now.depth) depth.set(deep.map(String), now.depth - 1);
    else depth.set([String(count.depth)], 0);
    over.set(options.over, options.over.indexOf(now.over));
  };
  const showCosts = (now, { parameters, macs, depth: blocks, network }) => {
    const other = compute({ ...presets["Transformer's block"], depth: 1, limit });
    [parameters, macs].forEach((numbers, at) => {
      // On the scale of the Transformer's block, so that a smaller block is shorter.
      const most = Math.max(total(numbers), total([other.parameters, other.macs][at]));
      bars[at].bar.set(numbers.map((number, part) => ({ ...PARTS[part], text: PARTS[part].short, value: number })), most);
      write(bars[at].head, `a block: ${whole(total(numbers))} ${at ? "multiply-adds" : "parameters"}`);
      PARTS.forEach((_, part) => write(cells[part][at], whole(numbers[part])));
      write(cells[PARTS.length][at], whole(total(numbers)));
    });
    const outside = network[0] - blocks * total(parameters);
    const scale = 1.02 * Math.max(network[0], limit);
    bars[2].bar.set([
      ...parameters.map((number, part) => ({ ...PARTS[part], text: PARTS[part].short, value: blocks * number })),
      { ...AROUND, text: AROUND.short, value: outside },
    ], scale);
    budgetLine.style.left = `${((100 * limit) / scale).toFixed(2)}%`;
    write(bars[2].head, obSlide()
      ? `${plural(blocks, "block")}: ${whole(network[0])}, ${beside(network[0], limit)} the budget`
      : `${plural(blocks, "block")} in a network: ${whole(network[0])} parameters, ${beside(network[0], limit)} the budget of ${whole(limit)}`);
  };
  const showChoices = (now) => {
    const columns = [now, ...compared.map((name) => presets[name])].map(used);
    FIELDS.forEach(([field], row) => {
      columns.forEach((column, at) => {
        const text = field in column ? String(column[field]) : "\u2013";
        const differs = at > 0 && field in column && field in columns[0] && column[field] !== columns[0][field];
        write(choices[row][at], differs ? `\u2260 ${text}` : text);
        choices[row][at].classList.toggle("bk-differs", differs);
      });
    });
  };
  const show = () => {
    const [now, runs] = [value(), model.get("runs")];
    const count = compute({ ...now, limit });
    showControls(now, count);
    showCosts(now, count);
    showChoices(now);
    const block = obSvg(drawing(now));
    block.setAttribute("aria-label", drawingInWords(now));
    holder.replaceChildren(block);
    const dots = obSvg(plot({ value: now, network: count.network, depth: count.depth, runs, at: large ? LARGE_PLOT : PLOT }));
    dots.setAttribute("aria-label", plotInWords(runs));
    runsHolder.replaceChildren(dots);
    const shown = found(now, count.depth, runs);
    write(known, `Runs of ${AFTER} steps: ` + (shown.length
      ? `this one reached ${shown.map((run) => mean(run.accuracies).toFixed(2)).join(" and ")}.`
      : obSlide() ? "this is not one of them." : "this one is not trained yet: run the cells below."));
    card.dataset.design = JSON.stringify(used(now));
    // On a slide the numbers stand above in large letters.
    say(obSlide() ? `${what(now)}. ${differences(now, presets, true)}` : sentence(now, presets, runs, limit));
    listing.set(code(now, limit));
  };

  // ---- What the model says ---------------------------------------------------------------------
  const valid = (given) => settled(Object.fromEntries(Object.keys(options).map((name) =>
    [name, obAmong(options[name], given[name], model.get("start")[name])])));
  const stop = obState(model, valid, show, { runs: show });
  el.replaceChildren(card);
  return stop;
}

export default { render };
