// Budget designer: what a net spends, part by part, beside another net.

const WINDOW = 7;
const CLASSES = 1000;
const DEEPEST = 36;

/** The parts of a net: token mixing by parameters and by products, V and O, feed-forward, the rest. */
const PARTS = [
  { name: "token mixing", short: "A", kind: "tokens" },
  { name: "q k\u1d40 and A v", short: "q k\u1d40, A v", kind: "tokens", computed: true },
  { name: "V, O", short: "V, O", kind: "striped" },
  { name: "feed-forward", short: "feed-forward", kind: "channels" },
  { name: "norm, scale", short: "", kind: "each" },
  { name: "outside blocks", short: "outside", kind: "rest" },
];

/** Channels, grid side and heads of each stage. */
function shape({ stages, width, heads, image, depths }) {
  if (stages === 1) return [{ channels: width, side: image / 16, heads, depth: depths[0] }];
  return [0, 1, 2, 3].map((i) => ({
    channels: width * 2 ** i, side: image / (4 * 2 ** i), heads: heads * 2 ** i, depth: depths[i],
  }));
}

/** One block: parameters and multiply-adds of the first five parts. */
function block({ channels: c, tokens, heads }, { stages, mixer, kernel, expansion: e }) {
  const forward = [2 * e * c * c + (e + 1) * c, 2 * e * c * c * tokens];
  if (mixer === "depthwise") {
    const norms = 2 * c + (stages === 4 ? c : 0); // the isotropic nets have no layer scale
    return [[(kernel ** 2 + 1) * c, kernel ** 2 * c * tokens], [0, 0], [0, 0], forward, [norms, 0]];
  }
  const windowed = stages === 4;
  const table = windowed ? (2 * WINDOW - 1) ** 2 * heads : 0;
  const span = windowed ? WINDOW ** 2 : tokens;
  const pair = [2 * (c * c + c), 2 * c * c * tokens]; // two of the four projections
  return [[pair[0] + table, pair[1]], [0, 2 * c * tokens * span], pair, forward, [4 * c, 0]];
}

/** Stem, downsampling, positions and head. */
function outside(stagesOf, { stages, mixer }) {
  const [first, last] = [stagesOf[0], stagesOf[stagesOf.length - 1]];
  const patch = stages === 4 ? 4 : 16;
  const patches = first.side ** 2;
  let parameters = 3 * patch ** 2 * first.channels + first.channels;
  let macs = 3 * patch ** 2 * first.channels * patches;
  if (stages === 4) parameters += 2 * first.channels; // the stem's norm
  else if (mixer === "attention") parameters += (patches + 2) * first.channels; // class token, positions
  stagesOf.slice(1).forEach(({ channels, side }, i) => {
    const before = stagesOf[i].channels;
    parameters += mixer === "depthwise"
      ? 2 * before + 4 * before * channels + channels
      : 8 * before + 4 * before * channels;
    macs += 4 * before * channels * side ** 2;
  });
  parameters += 2 * last.channels + last.channels * CLASSES + CLASSES;
  return [parameters, macs + last.channels * CLASSES];
}

function count(design) {
  const stagesOf = shape(design);
  const sums = PARTS.map(() => [0, 0]);
  for (const { side, depth, ...stage } of stagesOf) {
    const extra = design.stages === 1 && design.mixer === "attention" ? 1 : 0; // the class token
    block({ ...stage, tokens: side ** 2 + extra }, design).forEach(([parameters, macs], part) => {
      sums[part][0] += depth * parameters;
      sums[part][1] += depth * macs;
    });
  }
  sums[5] = outside(stagesOf, design);
  return { parameters: sums.map(([p]) => p), macs: sums.map(([, m]) => m) };
}

const total = (numbers) => numbers.reduce((sum, one) => sum + one, 0);

/** Scale all depths by one factor, so that the parameters come as near to `lock` as whole blocks allow. */
export function follow(design) {
  const used = design.depths.slice(0, design.stages);
  const most = Math.max(...used);
  let best = null;
  for (let n = 1; n <= DEEPEST; n += 1) {
    const depths = used.map((one) => Math.max(1, Math.floor((2 * one * n + most) / (2 * most))));
    const off = Math.abs(total(count({ ...design, depths }).parameters) - design.lock);
    if (!best || off < best.off) best = { depths, off };
  }
  return best.depths;
}

/**
 * Parameters and multiply-adds of a net, part by part (the order of PARTS), on one image.
 * stages: 4 (patches of 4, widths C, 2C, 4C, 8C) or 1 (patches of 16, width C); mixer: "depthwise" or
 * "attention" (in windows of 7 with four stages, over all tokens with one); depths: one for each
 * stage. With lock above 0 the depths are first scaled to that many parameters.
 */
export function compute({ lock = 0, ...design }) {
  const depths = lock > 0 ? follow({ ...design, lock }) : design.depths.slice(0, design.stages);
  return { depths, ...count({ ...design, depths }) };
}

/** A large number in three digits or so. */
function big(n) {
  if (n >= 1e9) return `${obText(n / 1e9)}\u00a0G`;
  if (n >= 1e6) return `${obText(n / 1e6)}\u00a0M`;
  return n >= 1e3 ? `${obText(n / 1e3)}\u00a0k` : String(n);
}

const DEPTHS = ["depth1", "depth2", "depth3", "depth4"];
const design = (value) => ({ ...value, depths: DEPTHS.map((key) => value[key]) });
const headsFor = (width) => [1, 2, 3, 4, 6, 8, 12, 16, 24, 32].filter((n) => width % n === 0);
const percent = (part, whole) => `${obText((100 * part) / whole, 1)}\u00a0%`;

/** The code for the current state: the first stage's block in PyTorch, the whole by formula. */
export function code(value, depths, parameters) {
  const { stages, mixer, width: c, heads, kernel, expansion: e, image } = value;
  const all = (list) => `(${list.join(", ")})`;
  const n = (number) => number.toLocaleString("en-US");
  const four = (first) => all([1, 2, 4, 8].map((times) => first * times));
  const lines = mixer === "depthwise"
    ? [
        [`nn.Conv2d(${c}, ${c}, ${kernel}, padding=${(kernel - 1) / 2}, groups=${c})`, (kernel ** 2 + 1) * c],
        [`nn.LayerNorm(${c})`, 2 * c],
      ]
    : [
        [`nn.LayerNorm(${c})`, 2 * c],
        [`nn.MultiheadAttention(${c}, num_heads=${heads})`, 4 * c * c + 4 * c],
        ...(stages === 4 ? [[`nn.Parameter(torch.zeros(13 * 13, ${heads}))`, 169 * heads]] : []),
        [`nn.LayerNorm(${c})`, 2 * c],
      ];
  lines.push(
    [`nn.Linear(${c}, ${e * c})`, e * c * c + e * c], ["nn.GELU()", 0],
    [`nn.Linear(${e * c}, ${c})`, e * c * c + c],
  );
  if (mixer === "depthwise" && stages === 4) lines.push([`nn.Parameter(1e-6 * torch.ones(${c}))`, c]);
  const common = `image=${image}, expansion=${e}`;
  const whole = mixer === "depthwise"
    ? stages === 4
      ? `convnext(${all(depths)}, ${four(c)}, kernel_size=${kernel}, ${common})`
      : `convnext_isotropic(${depths[0]}, ${c}, kernel_size=${kernel}, ${common})`
    : stages === 4
      ? `swin(${all(depths)}, ${c}, heads=${four(heads)}, ${common})`
      : `vit(${depths[0]}, ${c}, ${common})`;
  return [
    `# a block${stages === 4 ? " of the first stage" : ""}, and its parameters`,
    ...lines.map(([text, number]) => `${text.padEnd(52)} # ${n(number).padStart(10)}`),
    "# the whole net, by helpers.budget",
    `${whole}.parameters`,
    `${" ".repeat(52)} # ${n(parameters).padStart(10)}`,
  ].join("\n");
}

function render({ model, el }) {
  const [options, presets] = [model.get("options"), model.get("presets")];
  const names = Object.keys(presets);
  const { card, controls, body, readout, say } = obCard(model, "budget_designer");
  let base = null; // the depths whose ratio a locked total keeps

  // ---- Changes -------------------------------------------------------------------------------
  const settled = (value) => {
    const now = { ...value, width: obNearest(options.widths[value.stages], value.width) };
    now.heads = obNearest(headsFor(now.width), now.heads);
    if (now.lock > 0) follow({ ...design(now), depths: base }).forEach((depth, i) => (now[DEPTHS[i]] = depth));
    return now;
  };
  const put = (value) => obChange(model, value);
  const change = (entries) => put(settled({ ...model.get("value"), ...entries }));
  const depthsOf = (value) => DEPTHS.map((key) => value[key]);
  /** From four stages to one and back: as many blocks, and the width of the third stage. */
  const changeStages = (stages) => {
    const value = model.get("value");
    if (stages === value.stages) return;
    const sum = total(depthsOf(value));
    const third = Math.max(1, Math.round(value.depth1 / 6));
    const depths = stages === 1
      ? [Math.min(DEEPEST, sum), 1, 1, 1]
      : [third, third, Math.min(DEEPEST, 3 * third), third];
    base = depths;
    const by = stages === 1 ? 4 : 0.25;
    change({
      stages, width: value.width * by, heads: Math.max(1, Math.round(value.heads * by)),
      ...Object.fromEntries(DEPTHS.map((key, i) => [key, depths[i]])),
    });
  };
  const choose = (name) => {
    base = null;
    put({ ...model.get("value"), ...presets[name], lock: 0 });
  };

  // ---- Controls ------------------------------------------------------------------------------
  const start = obRadios({ name: "start", label: "start from", onChange: (at) => choose(names[at]) });
  start.element.classList.add("bd-starts");
  start.set(names, 0);
  const starts = [...start.element.querySelectorAll("input")];
  const mixer = obRadios({
    name: "mixer", label: "mixer", onChange: (at) => change({ mixer: ["depthwise", "attention"][at] }),
  });
  const stages = obRadios({ name: "stages", label: "stages", onChange: (at) => changeStages([4, 1][at]) });
  const list = (name, label, choices) => {
    const slider = obSlider({ name, label, onChange: (at) => change({ [name]: choices()[at] }) });
    return { ...slider, name, choices };
  };
  const value = () => model.get("value");
  const sliders = [
    list("width", "width C", () => options.widths[value().stages]),
    list("kernel", "kernel k", () => options.kernels),
    list("heads", "heads H", () => headsFor(value().width)),
    list("expansion", "expansion", () => options.expansions),
    list("image", "image", () => options.images),
  ];
  const everyDepth = Array.from({ length: DEEPEST }, (_, n) => n + 1);
  const depths = DEPTHS.map((name, i) => {
    const slider = list(name, `stage ${i + 1}`, () => everyDepth);
    return slider;
  });
  const depthGroup = obMake("div", { className: "bd-depths", role: "group", "aria-label": "blocks in each stage" },
    obMake("span", { className: "ob-label", textContent: "blocks" }), ...depths.map(({ element }) => element));
  const lock = obFocusable(obMake("input", { type: "checkbox", id: obId("lock") }));
  lock.addEventListener("change", () => {
    base = lock.checked ? depthsOf(value()) : null;
    put({ ...value(), lock: lock.checked ? total(count({ ...design(value()) }).parameters) : 0 });
  });
  const against = obFocusable(obMake("select", { id: obId("against") }, ...names.map((name) =>
    obMake("option", { value: name, textContent: name }))));
  against.addEventListener("change", () => change({ against: against.value }));
  const named = (label, element, ...after) =>
    obMake("div", { className: "ob-control" }, obMake("label", { className: "ob-label", for: element.id, textContent: label }), element, ...after);
  const reset = obButton("Reset", "", () => {
    base = null;
    put({ ...model.get("start") });
  }, "ob-button ob-reset");
  const bySlider = Object.fromEntries(sliders.map((one) => [one.name, one]));
  controls.append(
    start.element, stages.element, mixer.element, bySlider.width.element, bySlider.kernel.element, bySlider.heads.element,
    bySlider.expansion.element, bySlider.image.element, depthGroup,
    named("lock parameters: the depths follow", lock), named("compare with", against), reset,
  );

  // ---- Views ---------------------------------------------------------------------------------
  const groups = ["parameters", "multiply-adds"].map((name) => {
    const rows = ["this", "other"].map((which) => {
      const [label, sum, bar] = [obMake("span", { className: "bd-name" }), obMake("span", { className: "bd-sum" }), obStack()];
      return { label, sum, bar, element: obMake("div", { className: `bd-row bd-${which}` }, label, bar.element, sum) };
    });
    return { rows, element: obMake("div", { className: "bd-group" }, obMake("p", { className: "bd-head", textContent: name }), ...rows.map(({ element }) => element)) };
  });
  const cells = [...PARTS, { name: "total" }].map(() => Array.from({ length: 4 }, () => obMake("td")));
  const heads = Array.from({ length: 2 }, () => obMake("th", { scope: "col" }));
  const title = obMake("caption");
  const table = obMake("table", { className: "ob-table bd-table" }, title,
    obMake("thead", {}, obMake("tr", {}, obMake("td", { className: "ob-corner" }),
      obMake("th", { scope: "col", textContent: "parameters" }), heads[0],
      obMake("th", { scope: "col", textContent: "multiply-adds" }), heads[1])),
    obMake("tbody", {}, ...cells.map((line, at) => obMake("tr", { className: at < PARTS.length ? "" : "bd-total" },
      obMake("th", { scope: "row" },
        obMake("span", { className: `bd-key ${PARTS[at] ? `ob-${PARTS[at].kind}${PARTS[at].computed ? " ob-computed" : ""}` : ""}`, "aria-hidden": "true" }),
        PARTS[at]?.name ?? "total"), ...line))));
  const listing = obCode();
  listing.element.open = false;
  body.append(obMake("div", { className: "bd-bars" }, ...groups.map(({ element }) => element)), table, readout, listing.element);

  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const USED = ["stages", "mixer", "width", "expansion", "image"];
  const nameOf = (now) =>
    names.find((name) => {
      const one = presets[name];
      const own = [...(now.mixer === "depthwise" ? ["kernel"] : ["heads"]), ...DEPTHS.slice(0, now.stages)];
      return [...USED, ...own].every((key) => one[key] === now[key]);
    });
  const show = () => {
    const now = value();
    const mine = count(design(now));
    const other = count(design(presets[now.against]));
    const used = DEPTHS.slice(0, now.stages).map((key) => now[key]);
    const name = nameOf(now);
    const label = name ?? (now.mixer === "depthwise" ? "your convnet" : "your Transformer");

    // A net of one's own is none of these.
    starts.forEach((input, at) => (input.checked = names[at] === name));
    stages.set(["4", "1"], now.stages === 4 ? 0 : 1);
    mixer.set(["depthwise conv", "attention"], now.mixer === "depthwise" ? 0 : 1);
    for (const { set, name: key, choices } of sliders) set(choices().map(String), choices().indexOf(now[key]));
    depths.forEach(({ set, element, name: key }, at) => {
      obHide(element, at >= now.stages);
      set(everyDepth.map(String), now[key] - 1);
      for (const input of element.querySelectorAll("input, button")) input.disabled = now.lock > 0;
    });
    obHide(bySlider.kernel.element, now.mixer !== "depthwise");
    obHide(bySlider.heads.element, now.mixer !== "attention");
    lock.checked = now.lock > 0;
    against.value = now.against;

    ["parameters", "macs"].forEach((what, at) => {
      const sums = [total(mine[what]), total(other[what])];
      groups[at].rows.forEach(({ label: text, sum, bar }, row) => {
        const numbers = [mine, other][row][what];
        write(text, row ? now.against : label);
        write(sum, big(sums[row]));
        bar.set(numbers.map((number, part) => ({ ...PARTS[part], text: PARTS[part].short, value: number })), Math.max(...sums));
      });
      const put = (line, mineNumber, otherNumber) => {
        write(line[2 * at], mineNumber ? big(mineNumber) : "0");
        write(line[2 * at + 1], otherNumber ? `\u00d7\u00a0${obText(mineNumber / otherNumber)}` : mineNumber ? "new" : "\u2013");
      };
      PARTS.forEach((_, part) => put(cells[part], mine[what][part], other[what][part]));
      put(cells[PARTS.length], ...sums);
    });
    for (const head of heads) write(head, `of ${now.against}`);
    write(title, `${label}, and how many times ${now.against} it spends`);
    card.dataset.design = JSON.stringify(used);

    const sum = total(mine.parameters);
    const [byParameters, byMacs] = ["parameters", "macs"].map((what) => total(mine[what]) / total(other[what]));
    const channels = mine.parameters[2] + mine.parameters[3];
    const same = name === now.against;
    const setting = [
      now.stages === 4 ? `depths ${used.join(", ")}` : `${used[0]} blocks`, `C = ${now.width}`,
      now.mixer === "depthwise" ? `kernel ${now.kernel}` : `${now.heads} heads`, `${now.image} pixels`,
    ].join(", ");
    say(
      (now.lock > 0 ? `Locked at ${big(now.lock)}, the depths follow, ${percent(Math.abs(sum - now.lock), now.lock)} off. ` : "") +
        `${label[0].toUpperCase()}${label.slice(1)}${obSlide() ? "" : ` (${setting})`}: ` +
        `${big(sum)} parameters${same ? "" : `, ${obText(byParameters, 3)} times those of ${now.against},`} and ` +
        `${big(total(mine.macs))} multiply-adds${same ? "" : `, ${obText(byMacs, 3)} times`}. ` +
        `${percent(channels, sum)} of its parameters mix channels in blocks, ${percent(mine.parameters[0], sum)} mix tokens.`,
    );
    listing.set(code(now, used, sum));
  };

  // ---- What the model says ---------------------------------------------------------------------
  const valid = (given) => {
    const from = model.get("start");
    const pick = (key, list) => obAmong(list, given[key], from[key]);
    const whole = (key, low, high) => obWhole(given[key], low, high, from[key]);
    const finite = (key) => (Number.isFinite(given[key]) ? given[key] : from[key]);
    const stages = pick("stages", [4, 1]);
    const width = obNearest(options.widths[stages], finite("width"));
    return {
      stages, mixer: pick("mixer", ["depthwise", "attention"]), width,
      ...Object.fromEntries(DEPTHS.map((key) => [key, whole(key, 1, DEEPEST)])),
      kernel: pick("kernel", options.kernels), heads: obNearest(headsFor(width), finite("heads")),
      expansion: pick("expansion", options.expansions), image: pick("image", options.images),
      lock: whole("lock", 0, 1e11), against: pick("against", names),
    };
  };
  const stop = obState(model, valid, () => {
    base = value().lock > 0 ? (base ?? depthsOf(value())) : null;
    show();
  });
  el.replaceChildren(card);
  return stop;
}

export default { render };
