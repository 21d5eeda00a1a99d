// When does N squared hurt? What a Transformer block spends on each token, by the size of the image.

const WINDOW = 7;
const KERNEL = 7;

/**
 * Multiply-adds for one token, and for the whole image, of a block with C channels on an image of
 * side x side pixels in patches: depthwise (k = 7) and the products q kT and A v (2 C M for M keys) in windows
 * of 7 x 7 and over all N tokens; a pair of projections (Q and K, or V and O); the feed-forward.
 * share: of q kT and A v in the block with all tokens. equal and half: the side, in pixels, at which
 * the two products cost as much as the four projections (N = 2 C), and as all the rest (N = 6 C).
 */
export function compute({ channels: c, patch, side }) {
  const tokens = Math.floor(side / patch) ** 2;
  const each = {
    depthwise: KERNEL ** 2 * c, window: 2 * c * WINDOW ** 2, all: 2 * c * tokens, pair: 2 * c * c, forward: 8 * c * c,
  };
  const image = Object.fromEntries(Object.entries(each).map(([name, macs]) => [name, macs * tokens]));
  const block = each.all + 2 * each.pair + each.forward;
  return {
    tokens, each: Object.values(each), image: Object.values(image), share: each.all / block,
    equal: patch * Math.sqrt(2 * c), half: patch * Math.sqrt(6 * c),
  };
}

/** In millions up to ten thousand of them, so that what is compared has one unit. */
function big(n) {
  if (n >= 1e10) return `${obText(n / 1e9, 0)}\u00a0G`;
  if (n >= 1e8) return `${Math.round(n / 1e6).toLocaleString("en-US")}\u00a0M`;
  return n >= 1e6 ? `${obText(n / 1e6)}\u00a0M` : `${obText(n / 1e3)}\u00a0k`;
}

const percent = (part) => `${obText(100 * part, 1)}\u00a0%`;
const known = { 384: "ViT-S", 768: "ViT-B", 1024: "ViT-L" };

/** The code for the current state. */
export function code({ channels, patch, side }, { tokens, each, image }) {
  const n = (number) => Math.round(number).toLocaleString("en-US");
  return [
    "from helpers.budget import attention, convnext_block, transformer_block",
    "",
    `N = (${side} // ${patch}) ** 2`.padEnd(52) + `# ${n(tokens)} tokens`,
    `block = transformer_block(${channels}, tokens=N)`,
    `block.part("q k\u1d40, A v").macs`.padEnd(52) + `# ${n(image[2])}`,
    `block.macs`.padEnd(52) + `# ${n(image[2] + 2 * image[3] + image[4])}`,
    `attention(${channels}, N, span=7 * 7).part("q k\u1d40, A v").macs`.padEnd(52) + `# ${n(image[1])}`,
    `convnext_block(${channels}, N).part("depthwise").macs`.padEnd(52) + `# ${n(image[0])}`,
    `2 * ${channels} * N`.padEnd(52) + `# ${n(each[2])} for one token`,
  ].join("\n");
}

function render({ model, el }) {
  const options = model.get("options");
  const { card, controls, body, readout, say } = obCard(model, "quadratic_cost");
  const value = () => model.get("value");
  const change = (entries) => obChange(model, entries);

  // ---- Controls ------------------------------------------------------------------------------
  const starts = options.presets.map(([name, preset]) => obButton(name, "", () => change(preset)));
  const side = obSlider({ name: "side", label: "image, pixels a side", onChange: (at) => change({ side: options.sides[at] }) });
  const channels = obRadios({ name: "channels", label: "channels C", onChange: (at) => change({ channels: options.channels[at] }) });
  const patch = obRadios({ name: "patch", label: "patch", onChange: (at) => change({ patch: options.patches[at] }) });
  const reset = obButton("Reset", "", () => change(model.get("start")), "ob-button ob-reset");
  controls.append(side.element, channels.element, patch.element,
    obMake("div", { className: "ob-control qc-starts", role: "group", "aria-label": "examples" }, ...starts), reset);

  // ---- Bars ----------------------------------------------------------------------------------
  const MIXERS = [
    { name: "attention, all tokens", at: 2 }, { name: "attention, windows", at: 1 }, { name: "depthwise 7 \u00d7 7", at: 0 },
  ];
  const rows = MIXERS.map(({ name }) => {
    const [sum, bar] = [obMake("span", { className: "qc-sum" }), obStack()];
    return { sum, bar, element: obMake("div", { className: "qc-row" }, obMake("span", { className: "qc-name", textContent: name }), bar.element, sum) };
  });
  const head = obMake("p", { className: "qc-head", textContent: "Multiply-adds for one token of one block" });

  // ---- The share as a curve over the image's side --------------------------------------------
  const [low, high] = [Math.log(options.sides[0]), Math.log(options.sides[options.sides.length - 1])];
  const across = (pixels) => (100 * (Math.log(pixels) - low)) / (high - low);
  const curve = obSvg('<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><path class="qc-half"/><path class="qc-curve"/></svg>');
  const dot = obMake("i", { className: "qc-dot" });
  const marks = [["qc-equal", ""], ["qc-all", ""]].map(([className]) => obMake("span", { className: `qc-mark ${className}` }, obMake("span")));
  const plot = obMake("div", { className: "qc-plot", "aria-hidden": "true" }, curve, ...marks, dot,
    ...[0, 50, 100].map((at) => obMake("span", { className: "qc-y", textContent: `${at} %`, style: `bottom: ${at}%` })),
    ...[112, 224, 448, 1024, 2048].map((at) => obMake("span", { className: "qc-x", textContent: String(at), style: `left: ${across(at)}%` })));
  const title = obMake("p", { className: "qc-head" }, "All tokens: share of q k\u1d40 and A v in the block");

  // ---- Table ---------------------------------------------------------------------------------
  const NAMES = [["depthwise 7 \u00d7 7", 0], ["q k\u1d40, A v in windows", 1], ["q k\u1d40, A v, all tokens", 2], ["Q, K, V, O", 3], ["feed-forward", 4]];
  const cells = NAMES.map(() => [obMake("td"), obMake("td")]);
  const table = obMake("table", { className: "ob-table qc-table" }, obMake("caption", { textContent: "Multiply-adds" }),
    obMake("thead", {}, obMake("tr", {}, obMake("td", { className: "ob-corner" }),
      obMake("th", { scope: "col", textContent: "one token" }), obMake("th", { scope: "col", textContent: "whole image" }))),
    obMake("tbody", {}, ...NAMES.map(([name], at) => obMake("tr", {}, obMake("th", { scope: "row", textContent: name }), ...cells[at]))));
  const listing = obCode();
  listing.element.open = false;
  body.append(head, obMake("div", { className: "qc-bars" }, ...rows.map(({ element }) => element)),
    obMake("div", { className: "qc-below" }, obMake("div", { className: "qc-chart" }, title, plot), table), readout, listing.element);

  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  let drawn = "";
  const drawCurve = ({ channels: c, patch: p }, { equal, half }) => {
    if (drawn === `${c} ${p}`) return;
    drawn = `${c} ${p}`;
    const points = Array.from({ length: 101 }, (_, at) => {
      const n = (Math.exp(low + (at / 100) * (high - low)) / p) ** 2;
      return `${at} ${(100 - (100 * n) / (6 * c + n)).toFixed(2)}`;
    });
    curve.lastChild.setAttribute("d", `M ${points.join(" L ")}`);
    curve.firstChild.setAttribute("d", "M 0 50 L 100 50");
    [[equal, `N = 2C, ${Math.round(equal)} px`], [half, `N = 6C, ${Math.round(half)} px`]].forEach(([pixels, text], at) => {
      const place = across(pixels);
      obHide(marks[at], place < 0 || place > 100);
      marks[at].style.left = `${place.toFixed(2)}%`;
      // A label near the right end stands on the left of its line.
      marks[at].classList.toggle("qc-left", place > 55);
      write(marks[at].firstChild, text);
    });
  };
  const show = () => {
    const now = value();
    const result = compute(now);
    const { tokens, each, image, share, equal } = result;
    side.set(options.sides.map(String), options.sides.indexOf(now.side));
    channels.set(options.channels.map(String), options.channels.indexOf(now.channels));
    patch.set(options.patches.map(String), options.patches.indexOf(now.patch));

    const pieces = MIXERS.map(({ at }) => [
      ...(at ? [{ kind: "tokens", value: each[3], text: "Q, K" }] : []),
      { kind: "tokens", value: each[at], text: at ? "q k\u1d40, A v" : "A", computed: at > 0 },
      ...(at ? [{ kind: "striped", value: each[3], text: "V, O" }] : []),
      { kind: "channels", value: each[4], text: "feed-forward" },
    ]);
    const sums = pieces.map((list) => list.reduce((sum, one) => sum + one.value, 0));
    // The scale is that of the fixed parts until attention outgrows it, and then doubles.
    let limit = 16 * now.channels ** 2;
    while (limit < sums[0]) limit *= 2;
    rows.forEach(({ sum, bar }, at) => {
      bar.set(pieces[at], limit);
      write(sum, big(sums[at]));
    });
    drawCurve(now, result);
    dot.style.left = `${across(now.side).toFixed(2)}%`;
    dot.style.bottom = `${(100 * share).toFixed(2)}%`;
    NAMES.forEach(([, at], line) => {
      const times = at === 3 ? 2 : 1;
      write(cells[line][0], big(times * each[at]));
      write(cells[line][1], big(times * image[at]));
    });
    card.dataset.tokens = tokens;

    const n = (number) => number.toLocaleString("en-US");
    const of = known[now.channels] && now.patch === 16 ? `${known[now.channels]} at` : `C = ${now.channels}, patches of ${now.patch},`;
    const past = tokens > 2 * now.channels ? "more" : tokens === 2 * now.channels ? "as much" : "less";
    say(
      `${of} ${now.side} pixels: N = ${n(tokens)} tokens. q k\u1d40 and A v are ${percent(share)} of the block, ` +
        `${past} ${past === "as much" ? "as" : "than"} the projections; they are equal at N = 2C = ${n(2 * now.channels)}, ${Math.round(equal)} pixels. ` +
        `Over the image: ${big(image[2])} over all tokens, ${big(image[1])} in windows, ${big(image[0])} for a depthwise 7 \u00d7 7.`,
    );
    listing.set(code(now, result));
  };

  // ---- What the model says ---------------------------------------------------------------------
  const valid = (given) => {
    const pick = (key, list) => obNearest(list, given[key], model.get("start")[key]);
    return { channels: pick("channels", options.channels), patch: pick("patch", options.patches), side: pick("side", options.sides) };
  };
  const stop = obState(model, valid, show);
  el.replaceChildren(card);
  return stop;
}

export default { render };
