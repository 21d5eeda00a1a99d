// Receptive field: two stacks of convolutions, and how strongly each input pixel acts on one output.

const RF_KERNELS = [1, 3, 5, 7];
// A reach of 25 pixels at most: what a finger's move costs grows with its square.
const rfMostLayers = (kernel) => (kernel > 3 ? 24 / (kernel - 1) : 8);
const RF_WIRING = ["depthwise", "dense"];
const RF_LAYERS = ["equal", "random", "gelu"];
// Dense layers mix two channels here: enough to differ from depthwise ones, few enough for a finger.
const RF_CHANNELS = 2;
const RF_WIDTH = 96;

/** Numbers from -1 to 1, the same for the same seed in every language. */
function rfNoise(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * 2 - 1;
  };
}

/** The slope of GELU: the normal distribution, plus x times its density. */
function rfSlope(x) {
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  return rfNormal(x) + x * density;
}

/** The normal distribution function (Abramowitz and Stegun 26.2.17 by way of 7.1.26; error 1e-7). */
function rfNormal(x) {
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * z);
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const upper = 0.5 * sum * Math.exp(-z * z);
  return x < 0 ? upper : 1 - upper;
}

/**
 * The effect of each input pixel on the middle of the output: the gradient of its channels' sum,
 * summed over the input channels by size, and divided by the total. Nothing is padded: the input is
 * exactly as large as the reach.
 * kernel 1, 3, 5 or 7; depth 1 to 8 layers; wiring "depthwise" or "dense"; layers "equal" (equal weights),
 * "random", or "gelu" (random, with a GELU between). Gives map (reach, reach), profile (reach),
 * reach, sigma, and centre: the part in the central 3 x 3.
 */
export function compute({ kernel, depth, wiring, layers }) {
  const reach = depth * (kernel - 1) + 1;
  const dense = wiring === "dense";
  // A depthwise channel reads itself alone, so that one is enough.
  const channels = dense ? RF_CHANNELS : 1;
  const taps = kernel * kernel;
  const next = rfNoise(7);
  const size = Math.sqrt(3 / (taps * channels));
  const weights = Array.from({ length: depth }, () =>
    Float64Array.from({ length: channels * channels * taps }, () =>
      layers === "equal" ? 1 / (taps * channels) : size * next(),
    ),
  );
  const side = (layer) => reach - layer * (kernel - 1);

  // Forwards: what enters each GELU, for its slope. A linear stack does not ask for its input.
  const slopes = [];
  if (layers === "gelu") {
    const pixel = rfNoise(11);
    let values = Float64Array.from({ length: channels * reach * reach }, pixel);
    for (let layer = 0; layer < depth - 1; layer += 1) {
      const [n, m] = [side(layer), side(layer + 1)];
      const out = new Float64Array(channels * m * m);
      for (let o = 0; o < channels; o += 1)
        for (let c = 0; c < channels; c += 1)
          for (let t = 0; t < taps; t += 1) {
            const w = weights[layer][(o * channels + c) * taps + t];
            const start = c * n * n + Math.floor(t / kernel) * n + (t % kernel);
            for (let i = 0; i < m; i += 1)
              for (let j = 0, to = (o * m + i) * m, from = start + i * n; j < m; j += 1) out[to + j] += w * values[from + j];
          }
      slopes.push(out.map(rfSlope));
      values = out.map((x) => x * rfNormal(x));
    }
  }

  // Backwards, from a 1 in each channel.
  let gradient = new Float64Array(channels).fill(1);
  for (let layer = depth - 1; layer >= 0; layer -= 1) {
    const [n, m] = [side(layer), side(layer + 1)];
    const into = new Float64Array(channels * n * n);
    for (let o = 0; o < channels; o += 1)
      for (let c = 0; c < channels; c += 1)
        for (let t = 0; t < taps; t += 1) {
          const w = weights[layer][(o * channels + c) * taps + t];
          const start = c * n * n + Math.floor(t / kernel) * n + (t % kernel);
          for (let i = 0; i < m; i += 1)
            for (let j = 0, from = (o * m + i) * m, to = start + i * n; j < m; j += 1) into[to + j] += w * gradient[from + j];
        }
    if (layer > 0 && slopes.length) into.forEach((value, at) => (into[at] = value * slopes[layer - 1][at]));
    gradient = into;
  }

  const flat = new Float64Array(reach * reach);
  gradient.forEach((value, at) => (flat[at % flat.length] += Math.abs(value)));
  const total = flat.reduce((sum, value) => sum + value, 0);
  const profile = Array(reach).fill(0);
  let centre = 0;
  const middle = (reach - 1) / 2;
  flat.forEach((value, at) => {
    flat[at] = value / total;
    const [i, j] = [Math.floor(at / reach), at % reach];
    profile[j] += flat[at];
    if (Math.abs(i - middle) <= 1 && Math.abs(j - middle) <= 1) centre += flat[at];
  });
  const mean = profile.reduce((sum, value, j) => sum + value * j, 0);
  const sigma = Math.sqrt(profile.reduce((sum, value, j) => sum + value * (j - mean) ** 2, 0));
  const map = Array.from({ length: reach }, (_, i) => Array.from(flat.subarray(i * reach, (i + 1) * reach)));
  return { map, profile, reach, sigma, centre };
}

/** The weights of a stack, 96 channels wide, biases not counted. */
export function weightsOf({ kernel, depth, wiring }) {
  return depth * kernel * kernel * RF_WIDTH * (wiring === "dense" ? RF_WIDTH : 1);
}

function rfName({ kernel, depth }) {
  const count = ["", "one", "two", "three", "four", "five", "six", "seven", "eight"][depth];
  return `${count} ${kernel} \u00d7 ${kernel}`;
}

function rfCode(a, b) {
  const stack = ({ kernel, depth, wiring, layers }) => {
    const groups = wiring === "depthwise" ? `, groups=${RF_WIDTH}` : "";
    const conv = `nn.Conv2d(${RF_WIDTH}, ${RF_WIDTH}, ${kernel}, padding=${(kernel - 1) / 2}${groups}, bias=False)`;
    if (depth === 1) return conv;
    if (layers !== "gelu") return `nn.Sequential(*(${conv}\n                for _ in range(${depth})))`;
    return `nn.Sequential(*(layer for _ in range(${depth}) for layer in (nn.GELU(),\n                ${conv})))[1:]`;
  };
  const fill = a.layers === "equal"
    ? ["for p in (*a.parameters(), *b.parameters()):", "    nn.init.constant_(p, 1 / p[0].numel())      # equal weights"]
    : [];
  return [
    `a = ${stack(a)}`,
    `b = ${stack(b)}`,
    ...fill,
    "",
    `image = torch.randn(1, ${RF_WIDTH}, 49, 49, requires_grad=True)`,
    "(g,) = torch.autograd.grad(a(image)[0, :, 24, 24].sum(), image)",
    "effect = g[0].abs().sum(0) / g.abs().sum()      # and the same for b",
  ].join("\n");
}

function render({ model, el }) {
  const { card, controls, body, readout, say } = obCard(model, "receptive_field");
  el.replaceChildren(card);
  const [views, words] = [obMake("div", { className: "rf-views" }), obMake("div", { className: "rf-words" })];
  const table = obMake("table", { className: "rf-table" });
  const listing = obCode();
  words.append(table, readout);
  const flow = obMake("div", { className: "rf-flow" }, views, words);
  body.append(flow, listing.element);

  let cursor = null;
  let stacks = null;
  const kept = new Map();
  const change = (entries) => obChange(model, entries);

  const sides = ["a", "b"].map((letter, index) => {
    const name = `${index ? "Right" : "Left"} stack: effect of each pixel`;
    const choose = (place) => {
      cursor = place;
      show();
    };
    const matrix = obMatrix({ name, kind: "weights", onChoose: choose });
    const profile = obSvg('<svg class="rf-profile" aria-hidden="true" preserveAspectRatio="none"></svg>');
    const kernel = obSlider({ name: `kernel_${letter}`, label: `${index ? "right" : "left"}: kernel`, onChange: (at) => change({ [`kernel_${letter}`]: RF_KERNELS[at] }) });
    const depth = obSlider({ name: `depth_${letter}`, label: `${index ? "right" : "left"}: layers`, onChange: (at) => change({ [`depth_${letter}`]: at + 1 }) });
    controls.append(kernel.element, depth.element);
    const below = obMake("div", { className: "rf-below", textContent: "sum of each column" });
    views.append(obMake("div", { className: "rf-side" }, matrix.element, profile, below));
    return { matrix, profile, kernel, depth };
  });
  const wiring = obRadios({ name: "wiring", label: "convolutions", onChange: (at) => change({ wiring: RF_WIRING[at] }) });
  const layers = obRadios({ name: "layers", label: "weights", onChange: (at) => change({ layers: RF_LAYERS[at] }) });
  const reset = obButton("Reset", "", () => {
    cursor = null;
    change(model.get("start"));
    show();
  }, "ob-button ob-reset");
  controls.append(wiring.element, layers.element, reset);

  const result = (stack) => {
    const key = JSON.stringify(stack);
    // The other stack has mostly not changed.
    if (!kept.has(key)) kept.set(key, compute(stack));
    if (kept.size > 40) kept.delete(kept.keys().next().value);
    return kept.get(key);
  };
  const percent = (part) => `${obText(100 * part, 1)} %`;
  const many = (count) => count.toLocaleString("en-US");

  const show = () => {
    const value = model.get("value");
    stacks = ["a", "b"].map((letter) => ({
      kernel: value[`kernel_${letter}`], depth: value[`depth_${letter}`], wiring: value.wiring, layers: value.layers,
    }));
    const results = stacks.map(result);
    const field = Math.max(9, ...results.map(({ reach }) => reach + 2));
    const middle = (field - 1) / 2;
    cursor = cursor && { row: Math.min(cursor.row, field - 1), column: Math.min(cursor.column, field - 1) };
    const limit = Math.max(...results.map(({ map }) => Math.max(...map.map((row) => Math.max(...row)))));
    const highest = Math.max(...results.map(({ profile }) => Math.max(...profile)));
    const read = ({ map, reach }, { row, column }) => map[row - (field - reach) / 2]?.[column - (field - reach) / 2] ?? 0;

    sides.forEach(({ matrix, profile, kernel, depth }, index) => {
      const [stack, { map, reach, profile: along }] = [stacks[index], results[index]];
      kernel.set(RF_KERNELS.map(String), RF_KERNELS.indexOf(stack.kernel));
      depth.set(Array.from({ length: rfMostLayers(stack.kernel) }, (_, n) => String(n + 1)), stack.depth - 1);
      const rim = (field - reach) / 2;
      const values = new Float64Array(field * field);
      map.forEach((row, i) => values.set(row, (i + rim) * field + rim));
      matrix.setCaption(obMake("b", { textContent: rfName(stack) }));
      matrix.draw(values, field, field, limit);
      matrix.cells.style.setProperty("--ob-cell", `calc(var(--rf-side) / ${field})`);
      matrix.mark([
        { row: rim, column: rim, rows: reach, columns: reach },
        { row: middle - 1, column: middle - 1, rows: 3, columns: 3, dashed: true },
        ...(cursor ? [{ ...cursor }] : []),
      ]);
      const place = cursor ?? { row: middle, column: middle };
      const [down, right] = [place.row - middle, place.column - middle];
      matrix.setCursor(place, `${right} to the right, ${down} down: ${obText(100 * read(results[index], place), 2)} percent of the effect`);
      profile.setAttribute("viewBox", `0 0 ${field} 1`);
      profile.innerHTML = along
        .map((part, j) => `<rect x="${rim + j + 0.08}" y="${1 - part / highest}" width="0.84" height="${part / highest}"/>`)
        .join("");
    });
    wiring.set(["depthwise", "dense"], RF_WIRING.indexOf(value.wiring));
    layers.set(["equal", "random", "random, GELU between"], RF_LAYERS.indexOf(value.layers));

    const line = (head, cells) =>
      obMake("tr", {}, obMake("th", { scope: "row", textContent: head }), ...cells.map((text) => obMake("td", { textContent: text })));
    table.replaceChildren(
      obMake("thead", {}, obMake("tr", {}, obMake("td"),
        ...stacks.map((stack) => obMake("th", { scope: "col", textContent: rfName(stack) })))),
      obMake("tbody", {},
        line("reach, pixels wide", results.map(({ reach }) => String(reach))),
        line("sigma, pixels", results.map(({ sigma }) => sigma.toFixed(2))),
        line("in the central 3 \u00d7 3", results.map(({ centre }) => percent(centre))),
        line(`weights, C = ${RF_WIDTH}`, stacks.map((stack) => many(weightsOf(stack))))),
    );
    listing.set(rfCode(...stacks));
    const [a, b] = results;
    const reach = a.reach === b.reach
      ? `Both reach ${a.reach} \u00d7 ${a.reach} pixels (solid square). `
      : `They reach ${a.reach} \u00d7 ${a.reach} pixels on the left and ${b.reach} \u00d7 ${b.reach} on the right (solid squares). `;
    const seen = cursor
      ? ` The chosen pixel has ${obText(100 * read(a, cursor), 2)} % of the effect on the left and ${obText(100 * read(b, cursor), 2)} % on the right.`
      : "";
    say(
      `${reach}Sigma is ${a.sigma.toFixed(2)} on the left and ${b.sigma.toFixed(2)} on the right; ` +
        `the central 3 \u00d7 3 (dashed) holds ${percent(a.centre)} and ${percent(b.centre)} of the effect.${seen}`,
    );
  };

  const stackOf = (value, letter) => {
    const kernel = obAmong(RF_KERNELS, value[`kernel_${letter}`]);
    return { [`kernel_${letter}`]: kernel, [`depth_${letter}`]: obWhole(value[`depth_${letter}`], 1, rfMostLayers(kernel)) };
  };
  const valid = (value) => ({
    ...stackOf(value, "a"), ...stackOf(value, "b"),
    wiring: obAmong(RF_WIRING, value.wiring), layers: obAmong(RF_LAYERS, value.layers),
  });
  return obState(model, valid, show);
}

export default { render };
