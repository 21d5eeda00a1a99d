// The whole operator as one matrix: which number stands in which cell, and where else it stands.

const LAYERS = ["dense", "depthwise", "pointwise", "separable", "attention"];
const NAMES = {
  dense: "dense conv", depthwise: "depthwise", pointwise: "1\u00a0\u00d7\u00a01",
  separable: "depthwise, then 1\u00a0\u00d7\u00a01", attention: "attention",
};
const PADDINGS = ["none", "zeros"];
const ORDERS = ["channels", "pixels"];
const HEADS = [1, 2, 4];

/** What the settings come to for one layer: kernel size, padding, stride, sizes. */
function settings({ layer, kernel_size, stride, padding, heads = 1 }, side) {
  const windowed = ["dense", "depthwise", "separable"].includes(layer);
  const k = windowed ? kernel_size : 1;
  const p = windowed && padding === "zeros" ? (k - 1) / 2 : 0;
  const s = layer === "attention" ? 1 : stride;
  const out = Math.floor((side + 2 * p - k) / s) + 1;
  return { k, p, s, out, heads: layer === "attention" ? heads : 1, windowed };
}

/** Softmax of x_h x_h^T / sqrt(d) for each head: queries and keys are the head's own channels. */
function attend(image, heads) {
  const pixels = image.map((plane) => plane.flat());
  const [count, d] = [pixels[0].length, image.length / heads];
  return Array.from({ length: heads }, (_, h) => {
    const own = pixels.slice(h * d, (h + 1) * d);
    return Array.from({ length: count }, (_, i) => {
      const scores = Array.from({ length: count }, (_, j) => own.reduce((sum, x) => sum + x[i] * x[j], 0) / Math.sqrt(d));
      const top = Math.max(...scores);
      const powers = scores.map((score) => Math.exp(score - top));
      const total = powers.reduce((sum, power) => sum + power, 0);
      return powers.map((power) => power / total);
    });
  });
}

/**
 * The operator as a matrix.
 * image (C, S, S), dense (C, C, K, K), depthwise (C, K, K), pointwise (C, C); of the kernels the
 * middle k x k is used. Gives matrix, and which number stands in each cell, counted from 1 and 0 for
 * none: spatial (a kernel's, or an attention weight) and channel (the 1x1 convolution's). numbers:
 * how many distinct ones there are; filled: how many cells hold one.
 */
export function compute(parameters) {
  const { layer, order, image, dense, depthwise, pointwise } = parameters;
  const [channels, side] = [image.length, image[0].length];
  const { k, p, s, out, heads } = settings(parameters, side);
  const [nOut, nIn] = [out * out, side * side];
  const edge = (depthwise[0].length - k) / 2;
  const weights = layer === "attention" ? attend(image, heads) : null;
  const matrix = [];
  const [spatial, channel] = [[], []];
  const row = () => new Array(channels * nIn).fill(0);
  for (let n = 0; n < channels * nOut; n += 1) {
    matrix.push(row());
    spatial.push(row());
    channel.push(row());
  }
  const found = new Set();
  let filled = 0;
  const put = (o, i, c, j, value, a, w) => {
    const r = order === "channels" ? o * nOut + i : i * channels + o;
    const q = order === "channels" ? c * nIn + j : j * channels + c;
    matrix[r][q] = value;
    spatial[r][q] = a;
    channel[r][q] = w;
    if (a > 0) found.add(a);
    if (w > 0) found.add(-w);
    filled += 1;
  };
  for (let o = 0; o < channels; o += 1) {
    for (let i = 0; i < nOut; i += 1) {
      if (layer === "attention") {
        const h = Math.floor((o * heads) / channels);
        for (let j = 0; j < nIn; j += 1) put(o, i, o, j, weights[h][i][j], (h * nIn + i) * nIn + j + 1, 0);
        continue;
      }
      const [top, left] = [Math.floor(i / out) * s - p, (i % out) * s - p];
      for (let u = 0; u < k; u += 1) {
        for (let v = 0; v < k; v += 1) {
          const [y, x] = [top + u, left + v];
          if (y < 0 || x < 0 || y >= side || x >= side) continue;
          const j = y * side + x;
          for (let c = 0; c < channels; c += 1) {
            const own = depthwise[c][edge + u][edge + v];
            const ownId = (c * k + u) * k + v + 1;
            if (layer === "dense") put(o, i, c, j, dense[o][c][edge + u][edge + v], ((o * channels + c) * k + u) * k + v + 1, 0);
            else if (layer === "depthwise" && c === o) put(o, i, c, j, own, ownId, 0);
            else if (layer === "pointwise") put(o, i, c, j, pointwise[o][c], 0, o * channels + c + 1);
            else if (layer === "separable") put(o, i, c, j, pointwise[o][c] * own, ownId, o * channels + c + 1);
          }
        }
      }
    }
  }
  return { matrix, spatial, channel, numbers: found.size, filled };
}

// ---- Words and code ------------------------------------------------------------------------------

const thousands = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
const plural = (n, what) => `${thousands(n)} ${what}${n === 1 ? "" : "s"}`;

/** The code for a state, which gives M and one of its entries. */
export function code(value, side, channels, at) {
  const { layer, order } = value;
  const { k, p, s, out, heads } = settings(value, side);
  const [nOut, nIn] = [out * out, side * side];
  const conv = (size, options) => `nn.Conv2d(${channels}, ${channels}, ${size}${options}, bias=False)`;
  const moves = `${s > 1 ? `, stride=${s}` : ""}${p > 0 ? `, padding=${p}` : ""}`;
  const shape = `(${channels * nOut}, ${channels * nIn})`;
  const lines = [`# image: (1, ${channels}, ${side}, ${side})`];
  if (layer === "attention") {
    const d = channels / heads;
    lines.push(
      `X = image.flatten(2).transpose(1, 2)`,
      `parts = X[0].unflatten(1, (${heads}, ${d})).transpose(0, 1)   # (${heads}, ${nIn}, ${d})`,
      `A = torch.softmax(parts @ parts.mT / ${d}**0.5, dim=-1)   # computed`,
      `M = torch.block_diag(*(torch.kron(torch.eye(${d}), a) for a in A))   # by channel`,
    );
    if (order === "pixels") {
      lines.push(`M = M.view(${channels}, ${nOut}, ${channels}, ${nIn}).permute(1, 0, 3, 2).reshape${shape}   # by pixel`);
    }
  } else {
    if (layer === "dense") lines.push(`layer = ${conv(k, moves)}`);
    if (layer === "depthwise") lines.push(`layer = ${conv(k, `${moves}, groups=${channels}`)}`);
    if (layer === "pointwise") lines.push(`layer = ${conv(1, moves)}`);
    if (layer === "separable") {
      lines.push(`depthwise = ${conv(k, `${moves}, groups=${channels}`)}`, `pointwise = ${conv(1, "")}`);
      lines.push("layer = nn.Sequential(depthwise, pointwise)");
    }
    lines.push(`M = matrix_by_probing(layer, image)   # ${shape}, by pixel`);
    if (order === "channels") {
      lines.push(`M = M.view(${nOut}, ${channels}, ${nIn}, ${channels}).permute(1, 0, 3, 2).reshape${shape}   # by channel`);
    }
    const numbers = "sum(p.numel() for p in layer.parameters())";
    lines.push(`${numbers}   # ${thousands(at.numbers)}`);
  }
  lines.push(`M.count_nonzero()   # ${thousands(at.filled)}`, `M[${at.row}, ${at.column}]   # ${at.name}`);
  return lines.join("\n");
}

// ---- Colours -------------------------------------------------------------------------------------

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const pack = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

function render({ model, el }) {
  const image = model.get("image");
  const [channels, side] = [image.length, image[0].length];
  const nIn = side * side;
  const hues = model.get("hues").map(rgb);
  const roles = Object.fromEntries(Object.entries(model.get("roles")).map(([name, hex]) => [name, pack(rgb(hex))]));
  const { card, controls, body, readout, say } = obCard(model, "operator_matrix");
  const grid = obMatrix({ name: "The operator as one matrix", kind: "signed", cell: 6, scale: false,
    onPoint: (place) => {
      hover = place && select(place);
      showSelection();
    },
    onChoose: (place) => {
      hover = null;
      change(select(place));
    },
  });
  const lines = obMake("i", { className: "om-lines", "aria-hidden": "true" });
  const top = obMake("div", { className: "om-top", "aria-hidden": "true" });
  const left = obMake("div", { className: "om-left", "aria-hidden": "true" });
  grid.cells.append(lines, top, left);
  grid.element.classList.add("om-matrix");
  const listing = obCode();
  const how = obMake("p", {
    className: "ob-how",
    textContent: "One colour, one number. Point at a cell, or move with the arrow keys: every cell with the same number turns dark.",
  });

  // ---- What is counted: one line for each layer, always all of them -----------------------------
  const counted = LAYERS.map((layer) => {
    const canvas = obMake("canvas", { "aria-hidden": "true" });
    const [numbers, filled] = [obMake("td"), obMake("td")];
    const head = obMake("th", { scope: "row", textContent: NAMES[layer] });
    const line = obMake("tr", {}, obMake("td", { className: "om-mini" }, canvas), head, numbers, filled);
    return { layer, canvas, numbers, filled, line };
  });
  const heading = (text) => obMake("th", { scope: "col", textContent: text });
  const table = obMake(
    "table", { className: "om-counts", "aria-label": "Distinct numbers and filled cells of each layer" },
    obMake("thead", {}, obMake("tr", {}, obMake("td"), heading("layer"), heading("numbers"), heading("cells filled"))),
    obMake("tbody", {}, ...counted.map(({ line }) => line)),
  );
  // On a slide what is said stands beside the matrix.
  const words = obMake("div", { className: "om-side" }, table, ...(obSlide() ? [readout] : []));
  body.append(
    how,
    obMake("div", { className: "om-views" }, grid.element, words),
    ...(obSlide() ? [] : [readout]),
    listing.element,
  );

  let hover = null;
  let shown = "";
  const results = {};
  let cells = null;

  const change = (entries) => obChange(model, valid({ ...model.get("value"), ...entries }));
  const input = (value, layer) => ({
    ...value, layer, image, dense: model.get("dense"), depthwise: model.get("depthwise"), pointwise: model.get("pointwise"),
  });

  // ---- Cells and what they stand for --------------------------------------------------------------
  const selection = () => ({ ...model.get("value"), ...hover });
  const rowOf = ({ order, out_channel: o, out_pixel: i }, nOut) => (order === "channels" ? o * nOut + i : i * channels + o);
  const columnOf = ({ order, in_channel: c, in_pixel: j }) => (order === "channels" ? c * nIn + j : j * channels + c);
  const select = ({ row, column }) => {
    const value = model.get("value");
    const nOut = settings(value, side).out ** 2;
    const split = (n, count) => (value.order === "channels" ? [Math.floor(n / count), n % count] : [n % channels, Math.floor(n / channels)]);
    const [[o, i], [c, j]] = [split(row, nOut), split(column, nIn)];
    return { out_channel: o, out_pixel: i, in_channel: c, in_pixel: j };
  };

  /**
   * The colour of a cell: the place in the kernel gives the hue, the channels the shade. Of
   * attention the key's pixel gives the hue, and the weight, in parts of the largest, the shade.
   */
  const shade = (layer, a, w, k, weight) => {
    let [hue, mix] = [12, 0];
    if (layer === "attention") [hue, mix] = [(a - 1) % nIn, 0.12 + 0.76 * weight];
    else {
      const place = a > 0 ? (a - 1) % (k * k) : 0;
      const start = (5 - k) / 2;
      hue = (start + Math.floor(place / k)) * 5 + start + (place % k);
      const pair = w > 0 ? w - 1 : Math.floor((a - 1) / (k * k)) * (layer === "depthwise" ? channels + 1 : 1);
      mix = 0.3 + (0.5 * pair) / (channels * channels - 1);
    }
    return pack(hues[hue].map((value) => Math.round(255 + mix * (value - 255))));
  };
  const paint = (layer, result, k) => {
    const columns = channels * nIn;
    const colours = new Uint32Array(result.spatial.length * columns).fill(0xffffffff);
    const known = new Map();
    const largest = Math.max(...result.matrix.map((line) => Math.max(...line)));
    result.spatial.forEach((ids, r) => {
      for (let q = 0; q < columns; q += 1) {
        const w = result.channel[r][q];
        if (ids[q] + w === 0) continue;
        const key = ids[q] * 32 + w;
        if (!known.has(key)) known.set(key, shade(layer, ids[q], w, k, result.matrix[r][q] / largest));
        colours[r * columns + q] = known.get(key);
      }
    });
    return colours;
  };
  /** A layer's matrix and its colours, remembered: most settings are not of every layer. */
  const solved = new Map();
  const solve = (value, layer) => {
    const { k, s, p, heads } = settings({ ...value, layer }, side);
    const key = [layer, k, s, p, heads, value.order].join(" ");
    if (!solved.has(key)) {
      const result = compute(input(value, layer));
      const flat = { a: result.spatial.flat(), w: result.channel.flat() };
      solved.set(key, { ...result, ...flat, colours: paint(layer, result, k), rows: result.spatial.length });
    }
    return solved.get(key);
  };

  // ---- The numbers: only when the settings change ---------------------------------------------------
  const showMatrix = () => {
    const value = model.get("value");
    const { layer, kernel_size: size, stride, padding, order, heads } = value;
    const key = JSON.stringify([layer, size, stride, padding, order, heads]);
    if (key === shown) return;
    shown = key;
    const now = settings(value, side);
    for (const { layer: one, canvas, numbers, filled, line } of counted) {
      const result = solve(value, one);
      line.classList.toggle("om-now", one === layer);
      if (results[one] === result) continue;
      results[one] = result;
      const { colours, rows } = result;
      [canvas.width, canvas.height] = [channels * nIn, rows];
      const picture = new ImageData(new Uint8ClampedArray(colours.buffer), channels * nIn, rows);
      canvas.getContext("2d").putImageData(picture, 0, 0);
      numbers.textContent = thousands(result.numbers);
      filled.textContent = thousands(result.filled);
    }
    const rows = results[layer].rows;
    cells = { a: results[layer].a, w: results[layer].w, columns: channels * nIn };
    grid.cells.classList.toggle("om-computed", layer === "attention");
    const groups = order === "channels" ? channels : now.out;
    lines.style.setProperty("--om-rows", order === "channels" ? groups : rows / channels);
    lines.style.setProperty("--om-columns", order === "channels" ? channels : nIn);
    const label = (word, count) => Array.from({ length: count }, (_, n) => obMake("span", { textContent: `${word} ${n}` }));
    top.replaceChildren(...(order === "channels" ? label("in", channels) : label("image row", side)));
    left.replaceChildren(...(rows < 16 ? [] : order === "channels" ? label("out", channels) : label("row", now.out)));
    const block = order === "channels" ? `each block: one pair of channels, ${now.out ** 2} \u00d7 ${nIn} pixels` : `each block: one pair of pixels, ${channels} \u00d7 ${channels} channels`;
    grid.setCaption(obMake("b", { textContent: "M" }), ` ${rows} \u00d7 ${channels * nIn}: rows go out, columns come in; ${block}`);

    const sizes = layer === "attention" ? ["all"] : now.windowed ? (padding === "none" ? [1, 3] : [1, 3, 5]) : [1];
    kernel.set(sizes.map(String), Math.max(0, sizes.indexOf(now.k)));
    pads.set(now.windowed ? (size === 5 ? ["zeros"] : PADDINGS) : ["none"], now.windowed && size !== 5 ? PADDINGS.indexOf(padding) : 0);
    strides.set(layer === "attention" ? ["1"] : ["1", "2"], now.s - 1);
    orders.set(ORDERS.map((name) => `by ${name.slice(0, -1)}`), ORDERS.indexOf(order));
    layers.set(LAYERS.map((name) => NAMES[name]), LAYERS.indexOf(layer));
    headed.set(HEADS.map(String), HEADS.indexOf(heads));
    headed.element.classList.toggle("om-unused", layer !== "attention");
  };

  // ---- The selected cell ----------------------------------------------------------------------------
  const showSelection = () => {
    const at = selection();
    const { layer } = at;
    const { k, s, p, out, heads } = settings(at, side);
    const [row, column] = [rowOf(at, out * out), columnOf(at)];
    const here = row * cells.columns + column;
    const [a, w] = [cells.a[here], cells.w[here]];
    const result = results[layer];
    const colours = result.colours.slice();
    const one = layer === "dense" ? roles.ink : layer === "pointwise" ? roles.channel : roles.token;
    const both = layer === "separable" ? roles.ink : one;
    const count = { same: 0, spatial: 0, channel: 0 };
    if (a + w > 0) {
      for (let n = 0; n < colours.length; n += 1) {
        const [sameA, sameW] = [a > 0 && cells.a[n] === a, w > 0 && cells.w[n] === w];
        if (sameA) count.spatial += 1;
        if (sameW) count.channel += 1;
        if (cells.a[n] === a && cells.w[n] === w) {
          colours[n] = both;
          count.same += 1;
        } else if (sameA) colours[n] = roles.token;
        else if (sameW) colours[n] = roles.channel;
      }
    }
    grid.drawColours(new Uint8ClampedArray(colours.buffer), result.rows, cells.columns);
    grid.mark([{ row, column }]);

    const { out_channel: o, out_pixel: i, in_channel: c, in_pixel: j } = at;
    const text = (value) => obText(value, 3);
    const place = (n, width) => `pixel ${n} (row ${Math.floor(n / width)}, column ${n % width})`;
    const where = `Row ${row}: output channel ${o} at ${place(i, out)}. Column ${column}: input channel ${c} at ${place(j, side)}. `;
    const number = result.matrix[row][column];
    const offset = () => {
      const n = (a - 1) % (k * k);
      return `${Math.floor(n / k)}, ${n % k}`;
    };
    let [what, name] = ["", "0"];
    if (a + w === 0) {
      const sameChannel = o === c;
      what = ["depthwise", "attention"].includes(layer) && !sameChannel
        ? `This cell is 0: channel ${o} is made of channel ${o} alone. `
        : layer === "pointwise"
          ? "This cell is 0: the pixels are not the same. "
          : `This cell is 0: the input pixel is outside the window of the output pixel. `;
    } else if (layer === "dense") {
      name = `layer.weight[${o}, ${c}, ${offset()}]`;
      what = `Here stands weight[${o}, ${c}, ${offset()}] = ${text(number)}, and in ${plural(count.same, "cell")} in all, once for each output pixel whose window has that place inside the image. `;
    } else if (layer === "depthwise") {
      name = `layer.weight[${o}, 0, ${offset()}]`;
      what = `Here stands weight[${o}, 0, ${offset()}] = ${text(number)}, and in ${plural(count.same, "cell")} in all: shared over positions, by channel ${o} alone. `;
    } else if (layer === "pointwise") {
      name = `layer.weight[${o}, ${c}, 0, 0]`;
      what = `Here stands weight[${o}, ${c}] = ${text(number)}, and in ${plural(count.same, "cell")} in all, once for each output pixel. `;
    } else if (layer === "separable") {
      const n = (a - 1) % (k * k);
      const edge = (5 - k) / 2;
      const own = model.get("depthwise")[c][edge + Math.floor(n / k)][edge + (n % k)];
      name = `depthwise.weight[${c}, 0, ${offset()}] * pointwise.weight[${o}, ${c}, 0, 0]`;
      what = `Here stands ${text(own)} \u00b7 ${obBracket(model.get("pointwise")[o][c], 3)} = ${text(number)}: depthwise weight[${c}, 0, ${offset()}], in ${plural(count.spatial, "cell")} (blue and black), times 1 \u00d7 1 weight[${o}, ${c}], in ${thousands(count.channel)} (orange and black); both in ${thousands(count.same)} (black). `;
    } else {
      const h = Math.floor((o * heads) / channels);
      name = `A[${h}, ${i}, ${j}]`;
      what = `Here stands A[${h}, ${i}, ${j}] = ${obText(number, 3)}, computed from the image. It is in ${plural(count.same, "cell")}: shared over the ${plural(channels / heads, "channel")} of head ${h}, by this pair of pixels alone. `;
    }
    const total = thousands(result.rows * cells.columns);
    const fill = layer === "separable"
      ? `${thousands(result.numbers)} numbers fill ${thousands(result.filled)} of ${total} cells, ${samePlaces() ? "the very cells that" : "other cells than"} ${thousands(results.dense.numbers)} numbers fill in the dense convolution.`
      : `${thousands(result.numbers)} numbers ${layer === "attention" ? "(computed, not learned) " : ""}fill ${thousands(result.filled)} of ${total} cells.`;
    grid.setCursor({ row, column }, what + where);
    // On a slide the place is seen; what stands there is said.
    say(obSlide() ? what + fill : where + what + fill);
    listing.set(code(at, side, channels, { row, column, name, numbers: result.numbers, filled: result.filled }));
    card.dataset.cell = `${row} ${column}`;
  };
  const samePlaces = () =>
    results.dense.rows === results.separable.rows && results.dense.a.every((id, n) => id > 0 === results.separable.a[n] > 0);

  // ---- Controls ---------------------------------------------------------------------------------------
  const layers = obRadios({ name: "layer", label: "layer", onChange: (at) => change({ layer: LAYERS[at] }) });
  const kernel = obSlider({ name: "kernel_size", label: "kernel size k", onChange: (at) => change({ kernel_size: 2 * at + 1 }) });
  const strides = obRadios({ name: "stride", label: "stride", onChange: (at) => change({ stride: at + 1 }) });
  const pads = obRadios({ name: "padding", label: "padding", onChange: (at) => change({ padding: PADDINGS[at] }) });
  const orders = obRadios({ name: "order", label: "rows and columns", onChange: (at) => change({ order: ORDERS[at] }) });
  const headed = obRadios({ name: "heads", label: "heads", onChange: (at) => change({ heads: HEADS[at] }) });
  const reset = obButton("Reset", "", () => {
    hover = null;
    change(model.get("start"));
  }, "ob-button ob-reset");
  controls.append(...[layers, kernel, strides, pads, orders, headed].map(({ element }) => element), reset);

  // ---- What the model says ----------------------------------------------------------------------------
  const valid = (value) => {
    const kept = {
      layer: obAmong(LAYERS, value.layer), kernel_size: obAmong([3, 1, 5], value.kernel_size),
      stride: obAmong([1, 2], value.stride), padding: obAmong(["zeros", "none"], value.padding),
      order: obAmong(ORDERS, value.order), heads: obAmong(HEADS, value.heads),
    };
    if (kept.kernel_size === 5) kept.padding = "zeros";
    const outputs = settings(kept, side).out ** 2;
    return {
      ...kept,
      out_channel: obWhole(value.out_channel, 0, channels - 1), out_pixel: obWhole(value.out_pixel, 0, outputs - 1),
      in_channel: obWhole(value.in_channel, 0, channels - 1), in_pixel: obWhole(value.in_pixel, 0, nIn - 1),
    };
  };
  const show = () => {
    showMatrix();
    showSelection();
  };
  el.replaceChildren(card);
  return obState(model, valid, show);
}

export default { render };
