// Learned mixing: a row of a trained head's A, or of a trained depthwise filter's, over a digit.

/** A of one head, softmax(Q Kᵀ / √d): (N x N), row by row. Weights as PyTorch stores them, (C x C). */
function lmAttention({ tokens, count, query, queryBias, key, keyBias, heads, head }) {
  const channels = queryBias.length;
  const d = channels / heads;
  const project = (weights, bias) => {
    const out = new Float64Array(count * d);
    for (let n = 0; n < count; n += 1) {
      for (let e = 0; e < d; e += 1) {
        const line = (head - 1) * d + e;
        let sum = bias[line];
        for (let c = 0; c < channels; c += 1) sum += tokens[n * channels + c] * weights[line * channels + c];
        out[n * d + e] = sum;
      }
    }
    return out;
  };
  const [q, k] = [project(query, queryBias), project(key, keyBias)];
  const token = new Float64Array(count * count);
  for (let n = 0; n < count; n += 1) {
    const row = token.subarray(n * count, (n + 1) * count);
    let most = -Infinity;
    for (let m = 0; m < count; m += 1) {
      let score = 0;
      for (let e = 0; e < d; e += 1) score += q[n * d + e] * k[m * d + e];
      row[m] = score / Math.sqrt(d);
      if (row[m] > most) most = row[m];
    }
    let sum = 0;
    for (let m = 0; m < count; m += 1) sum += row[m] = Math.exp(row[m] - most);
    for (let m = 0; m < count; m += 1) row[m] /= sum;
  }
  return token;
}

/** A of a depthwise convolution with one k x k filter, zeros outside the image: (N x N), row by row. */
function lmConvolution(filter, k, [height, width]) {
  const count = height * width;
  const reach = (k - 1) / 2;
  const token = new Float64Array(count * count);
  for (let n = 0; n < count; n += 1) {
    const [i, j] = [Math.floor(n / width), n % width];
    for (let at = 0; at < k * k; at += 1) {
      const [row, column] = [i + Math.floor(at / k) - reach, j + (at % k) - reach];
      const inside = row >= 0 && row < height && column >= 0 && column < width;
      if (inside) token[n * count + row * width + column] = filter[at];
    }
  }
  return token;
}

/** Of each row of A: the share of its size in the 3x3 window, what even weights put there, the largest. */
function lmRows(token, [height, width]) {
  const count = height * width;
  const [inside, even, largest] = [0, 0, 0].map(() => new Float64Array(count));
  for (let n = 0; n < count; n += 1) {
    const [i, j] = [Math.floor(n / width), n % width];
    let [all, near, places] = [0, 0, 0];
    for (let m = 0; m < count; m += 1) {
      const size = Math.abs(token[n * count + m]);
      all += size;
      if (size > largest[n]) largest[n] = size;
      if (Math.abs(Math.floor(m / width) - i) > 1 || Math.abs((m % width) - j) > 1) continue;
      near += size;
      places += 1;
    }
    [inside[n], even[n]] = [near / all, places / count];
  }
  return { inside, even, largest };
}

/** A of a filter or of a head, and what its rows hold; see LearnedMixing.reference. */
export function compute({ grid, filter, tokens, query, query_bias, key, key_bias, heads, head }) {
  const count = grid[0] * grid[1];
  const flat = (numbers) => Float64Array.from(numbers.flat());
  const token = filter
    ? lmConvolution(flat(filter), filter.length, grid)
    : lmAttention({
      tokens: flat(tokens), count, query: flat(query), queryBias: query_bias, key: flat(key), keyBias: key_bias, heads, head,
    });
  const { inside, even, largest } = lmRows(token, grid);
  return {
    token: Array.from({ length: count }, (_, n) => Array.from(token.subarray(n * count, (n + 1) * count))),
    inside: Array.from(inside), even: Array.from(even), largest: Array.from(largest),
  };
}

const LM_SIDE = 7;
const LM_COUNT = LM_SIDE * LM_SIDE;
const LM_GRID = [LM_SIDE, LM_SIDE];
const LM_CHANNELS = 32;
const LM_HEADS = 2;
const LM_LAYERS = { ViT: 4, ConvNeXt: 6 };
const LM_TRAINED = [100, 4000];
const LM_ROUNDING = 1e-9;

const lmPlace = (token) => `row ${Math.floor(token / LM_SIDE)}, column ${token % LM_SIDE}`;
const lmPercent = (part) => `${(100 * part).toFixed(0)} %`;
const lmMean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;
const lmRow = (token, query) => token.subarray(query * LM_COUNT, (query + 1) * LM_COUNT);

/** The place of the entry that is largest in size. */
function lmTop(row) {
  let top = 0;
  for (let m = 1; m < row.length; m += 1) if (Math.abs(row[m]) > Math.abs(row[top]) + LM_ROUNDING) top = m;
  return top;
}

/** The code for the current state; window, test and trained are the page's own. */
export function code({ network, training_images: size, layer, head, kernel, query }, place, row, inside) {
  const says = (text, what) => `${text.padEnd(48)}# ${what}`;
  const largest = obText(Math.abs(row[lmTop(row)]), 3);
  const start = [`model = trained("${network}", ${size})`, `image = test.images[[${place}]]`];
  if (network === "ConvNeXt") {
    return [
      ...start,
      says(`conv = model.blocks[${layer - 1}].dwconv`, "groups=32"),
      says(`filter = conv.weight[${kernel - 1}, 0]`, "(3, 3), parameters"),
      `A = layer_mixing(model, image, ${layer}).token[0, ${kernel - 1}]`,
      says(`A[${query}].abs().max()`, largest),
      says(`(A[${query}] < 0).sum()`, String(row.reduce((sum, one) => sum + (one < 0), 0))),
    ].join("\n");
  }
  const columns = `${(head - 1) * 16}:${head * 16}`;
  return [
    ...start,
    says(`before = model.blocks[:${layer - 1}](model.tokens(image))`, "(1, 32, 7, 7)"),
    `block = model.blocks[${layer - 1}].layer`,
    says("X = block.norm1(before.flatten(2).mT)[0]", "(49, 32)"),
    "both = block.self_attn",
    "QKV = F.linear(X, both.in_proj_weight, both.in_proj_bias)",
    says("Q, K, V = QKV.chunk(3, dim=-1)", "(49, 32) each"),
    says(`Q, K = Q[:, ${columns}], K[:, ${columns}]`, `head ${head}, d = 16`),
    says("A = (Q @ K.T / 16**0.5).softmax(-1)", "computed from the digit"),
    says(`A[${query}].max()`, largest),
    says(`A[${query}] @ window[${query}]`, obText(inside, 3)),
  ].join("\n");
}

/** What the readout says of one row; on a slide in fewer words. */
export function sentence(value, { row, inside, even, all, evenAll }, brief) {
  const { network, training_images: size, layer, head, kernel, query, image } = value;
  const top = lmTop(row);
  const start = `${network} after ${size.toLocaleString("en-US")} images, layer ${layer} of ${LM_LAYERS[network]}. `;
  const largest = `${obText(row[top], 3)}, at ${lmPlace(top)}`;
  const negative = row.reduce((sum, one) => sum + (one < 0), 0);
  const weights = row.reduce((sum, one) => sum + (one !== 0), 0);
  if (network === "ViT") {
    const here = `${lmPercent(inside)} of its weight lies in its 3 \u00d7 3 window`;
    if (brief) return `Head ${head}, token at ${lmPlace(query)}: ${here}, evenly spread ${lmPercent(even)}. Largest: ${largest}. All rows: ${lmPercent(all)}, evenly ${lmPercent(evenAll)}.`;
    return (
      `${start}Head ${head}, the token at ${lmPlace(query)} of a ${image}: ${here}, evenly spread it would be ${lmPercent(even)}. ` +
      `The largest weight is ${largest}. Over all 49 rows: ${lmPercent(all)} in the window, evenly spread ${lmPercent(evenAll)}.`
    );
  }
  const where = `all of the row lies in its 3 \u00d7 3 window`;
  const counts = `Of ${weights} weights ${negative} ${negative === 1 ? "is" : "are"} negative; the largest in size is ${largest}.`;
  if (brief) return `${lmPlace(query)}: ${where}. Negative: ${negative} of ${weights}; the largest in size: ${obText(row[top], 3)}.`.replace(/^./, (letter) => letter.toUpperCase());
  return (
    `${start}Filter ${kernel} of ${LM_CHANNELS}, the token at ${lmPlace(query)}: ${where}, where it can be nowhere else; ` +
    `evenly spread over the image it would be ${lmPercent(even)}. ${counts} Every digit is read with these.`
  );
}

function lmNumbers(text, step) {
  return Float64Array.from(text.split(" "), (one) => one * step);
}

/** What a state is computed from and what comes of it, each made once: (state) => numbers. */
function lmComputed(model) {
  const steps = model.get("steps");
  const kept = new Map();
  const once = (name, make) => {
    if (!kept.has(name)) kept.set(name, make());
    return kept.get(name);
  };
  const filters = (value) => {
    const which = `${value.training_images} ${value.layer}`;
    return once(`filters ${which}`, () => lmNumbers(model.get("filters")[which], steps.weights));
  };
  const headOf = (value, head) => {
    const weights = `${value.training_images} ${value.layer}`;
    const which = `${value.training_images} ${value.image} ${value.layer}`;
    return once(`head ${which} ${head}`, () => {
      const numbers = once(`weights ${weights}`, () => lmNumbers(model.get("projections")[weights], steps.weights));
      const square = LM_CHANNELS * LM_CHANNELS;
      const token = lmAttention({
        tokens: once(`tokens ${which}`, () => lmNumbers(model.get("tokens")[which], steps.tokens)),
        count: LM_COUNT, heads: LM_HEADS, head,
        query: numbers.subarray(0, square), key: numbers.subarray(square, 2 * square),
        queryBias: numbers.subarray(2 * square, 2 * square + LM_CHANNELS),
        keyBias: numbers.subarray(2 * square + LM_CHANNELS),
      });
      // Few weights are far larger than the rest: the colours of the whole A end where 1 in 200 lies above.
      const end = Float64Array.from(token).sort()[Math.floor(0.995 * token.length)];
      return { token, end, ...lmRows(token, LM_GRID) };
    });
  };
  const kernelOf = (value) => {
    const which = `kernel ${value.training_images} ${value.layer} ${value.kernel}`;
    return once(which, () => {
      const filter = filters(value).subarray(9 * (value.kernel - 1), 9 * value.kernel);
      const token = lmConvolution(filter, 3, LM_GRID);
      return { token, filter, end: Math.abs(filter[lmTop(filter)]), ...lmRows(token, LM_GRID) };
    });
  };
  return { filters, headOf, kernelOf };
}

/** The 256 colours of a map, asked of the page once: asking makes it settle its styles. */
const LM_PALETTES = {};
function lmPalette(kind) {
  LM_PALETTES[kind] ??= obColours(kind);
  return LM_PALETTES[kind];
}

/** A matrix with a scale below whose bar stays and whose ends are written anew: label(limit, beyond). */
function lmMatrix({ name, kind, cell, ...events }) {
  const matrix = obMatrix({ name, kind, cell, scale: false, ...events });
  if (kind === "picture") return matrix;
  const bar = obMake("i");
  bar.style.background = `linear-gradient(to right, ${obStops(kind).join(", ")})`;
  const ends = (kind === "signed" ? ["", "0", ""] : ["0", ""]).map((text) => obMake("span", { textContent: text }));
  matrix.element.append(obMake("div", { className: "lm-scale", "aria-hidden": "true" }, bar, obMake("span", {}, ...ends)));
  matrix.label = (limit, beyond = false) => {
    const text = `${beyond ? "\u2265 " : ""}${obText(limit)}`;
    const last = ends[ends.length - 1];
    if (last.textContent === text) return;
    last.textContent = text;
    if (kind === "signed") ends[0].textContent = obText(-limit);
  };
  return matrix;
}

/** Write a number into each of the 49 cells of a matrix, in hundredths; a zero that is no weight stays empty. */
function lmWriter(matrix, kind) {
  const spans = Array.from({ length: LM_COUNT }, () => obMake("span"));
  matrix.cells.append(obMake("div", { className: "lm-numbers", "aria-hidden": "true" }, ...spans));
  const palette = lmPalette(kind);
  return (values, limit) => {
    const [offset, gain] = kind === "signed" ? [127.5, 127.5 / limit] : [0, 255 / limit];
    spans.forEach((span, m) => {
      const at = 4 * Math.max(0, Math.min(255, Math.round(offset + gain * values[m])));
      const text = values[m] === 0 ? "" : obText(100 * values[m], 0);
      if (span.textContent !== text) span.textContent = text;
      const light = 0.3 * palette[at] + 0.59 * palette[at + 1] + 0.11 * palette[at + 2];
      const name = light < 128 ? "lm-on-dark" : "";
      if (span.className !== name) span.className = name;
    });
  };
}

/** The contact sheet: 32 filters as radio buttons, each on its picture. */
function lmSheet(onChoose) {
  const group = obId("kernel");
  const caption = obMake("legend");
  const items = Array.from({ length: LM_CHANNELS }, (_, index) => {
    const input = obFocusable(obMake("input", { type: "radio", name: group, value: String(index + 1) }));
    input.addEventListener("change", () => input.checked && onChoose(index + 1));
    const canvas = obMake("canvas", { width: 3, height: 3, "aria-hidden": "true" });
    return { input, canvas, label: obMake("label", { className: "lm-item" }, input, canvas) };
  });
  const element = obMake("fieldset", { className: "lm-sheet", "data-parameter": "kernel" }, caption,
    obMake("div", { className: "lm-items" }, ...items.map(({ label }) => label)));
  let drawn = null;
  const set = (filters, chosen, title) => {
    if (drawn !== filters) {
      drawn = filters;
      caption.replaceChildren(...title);
      const limit = Math.abs(filters[lmTop(filters)]);
      const palette = lmPalette("signed");
      items.forEach(({ input, canvas }, index) => {
        const context = canvas.getContext("2d");
        const pixels = context.createImageData(3, 3);
        const filter = filters.subarray(9 * index, 9 * index + 9);
        filter.forEach((weight, at) => {
          const from = 4 * Math.round(127.5 + (127.5 * weight) / limit);
          pixels.data.set(palette.subarray(from, from + 4), 4 * at);
        });
        context.putImageData(pixels, 0, 0);
        const negative = filter.reduce((sum, one) => sum + (one < 0), 0);
        input.setAttribute("aria-label", `filter ${index + 1}: ${negative} of 9 weights negative`);
      });
    }
    if (!items[chosen - 1].input.checked) items[chosen - 1].input.checked = true;
  };
  return { element, set };
}

/** A table of what is known of each head, a column for each, or on a slide a row; and how it is filled. */
function lmFacts(names) {
  const heads = ["head 1", "head 2"];
  const [across, down] = obSlide() ? [names, heads] : [heads, names];
  const cells = down.map(() => across.map(() => obMake("td")));
  const name = (scope) => (textContent) => obMake("th", { scope, textContent });
  const element = obMake("table", { className: "lm-facts" },
    obMake("thead", {}, obMake("tr", {}, obMake("td"), ...across.map(name("col")))),
    obMake("tbody", {}, ...cells.map((line, at) => obMake("tr", {}, name("row")(down[at]), ...line))));
  const set = (columns) => columns.forEach((texts, side) => texts.forEach((text, at) => {
    const cell = obSlide() ? cells[side][at] : cells[at][side];
    if (cell.textContent !== text) cell.textContent = text;
  }));
  return { element, set };
}

/** The views, and how each is drawn from the numbers of a state. */
function lmViews(model, { look, choose }) {
  const tokenOf = ({ row, column }) => row * LM_SIDE + column;
  const pixels = {
    onPoint: (place) => look(place && tokenOf(place)),
    onChoose: (place) => choose(tokenOf(place)),
  };
  const rows = { onPoint: (place) => look(place && place.row), onChoose: (place) => choose(place.row) };
  const map = (name, kind) => lmMatrix({ name, kind, cell: 28, ...pixels });
  const whole = (name, kind) => lmMatrix({ name, kind, cell: 4, ...rows });
  const views = {
    image: map("The digit, 7 by 7 tokens, with the row laid over it", "picture"),
    head1: map("The row of head 1", "weights"),
    head2: map("The row of head 2", "weights"),
    row: map("The row of the filter", "signed"),
    headA: whole("A of the head, 49 by 49; up and down choose the row", "weights"),
    filterA: whole("A of the filter, 49 by 49; up and down choose the row", "signed"),
  };
  for (const [name, view] of Object.entries(views)) {
    view.element.classList.add("lm-view", `lm-at-${name}`);
    // A first drawing asks the page for its colours: now, and not when a reader changes the network.
    if (view.label) view.draw(new Float64Array(LM_COUNT), LM_SIDE, LM_SIDE, 1);
  }
  const write = {
    head1: lmWriter(views.head1, "weights"), head2: lmWriter(views.head2, "weights"), row: lmWriter(views.row, "signed"),
  };
  const paper = obMake("canvas", { className: "lm-paper", width: 28, height: 28, "aria-hidden": "true" });
  views.image.cells.prepend(paper);
  let shows = null;
  const digit = (image) => {
    if (shows === image) return;
    shows = image;
    const context = paper.getContext("2d");
    const data = context.createImageData(28, 28);
    lmNumbers(model.get("pictures")[image], 1).forEach((light, at) => data.data.set([light, light, light, 255], 4 * at));
    context.putImageData(data, 0, 0);
  };
  const overlay = new Uint8ClampedArray(4 * LM_COUNT);
  const layOver = (row, kind) => {
    const palette = lmPalette(kind);
    const most = Math.abs(row[lmTop(row)]);
    for (let m = 0; m < LM_COUNT; m += 1) {
      const part = row[m] / most;
      const at = 4 * Math.round(kind === "signed" ? 127.5 + 127.5 * part : 255 * part);
      for (let c = 0; c < 3; c += 1) overlay[4 * m + c] = palette[at + c];
      overlay[4 * m + 3] = row[m] === 0 ? 0 : 255 * (0.25 + 0.6 * Math.abs(part));
    }
    views.image.drawColours(overlay, LM_SIDE, LM_SIDE);
  };
  const mark = (query) => {
    const [row, column] = [Math.floor(query / LM_SIDE), query % LM_SIDE];
    const [top, left] = [Math.max(0, row - 1), Math.max(0, column - 1)];
    const size = { rows: Math.min(LM_SIDE, row + 2) - top, columns: Math.min(LM_SIDE, column + 2) - left };
    const marks = [{ row: top, column: left, ...size, dashed: true }, { row, column }];
    for (const name of ["image", "head1", "head2", "row"]) views[name].mark(marks);
    for (const name of ["headA", "filterA"]) views[name].mark([{ row: query, column: 0, columns: LM_COUNT }]);
  };
  return { views, write, digit, layOver, mark };
}

function render({ model, el }) {
  const { card, controls, body, readout, say } = obCard(model, "learned_mixing");
  const { filters, headOf, kernelOf } = lmComputed(model);
  const digits = Object.keys(model.get("places")).map(Number);
  let hover = null;
  const set = (entries) => {
    model.set("value", { ...model.get("value"), ...entries });
    model.save_changes();
  };
  const { views, write, digit, layOver, mark } = lmViews(model, {
    look: (query) => {
      hover = query;
      showQuery();
    },
    choose: (query) => {
      hover = null;
      set({ query });
    },
  });
  const bold = (text) => obMake("b", { textContent: text });
  const blue = (text) => obMake("b", { className: "lm-token", textContent: text });
  const drawn = {};
  const draw = (name, values, rows, end) => {
    if (drawn[name] === values && drawn[`${name} end`] === end) return;
    [drawn[name], drawn[`${name} end`]] = [values, end];
    views[name].draw(values, rows, rows, end);
    // Of a whole A of a head the largest weights lie beyond the end of the colours.
    views[name].label(end, name === "headA");
  };

  // ---- The 3 x 3 filter with its numbers, the contact sheet, the facts of both heads -----------------
  const numbers = Array.from({ length: 9 }, () => obMake("td"));
  const filterTitle = obMake("caption");
  const filterTable = obMake("table", { className: "ob-table lm-filter" }, filterTitle,
    obMake("tbody", {}, ...[0, 3, 6].map((at) => obMake("tr", {}, ...numbers.slice(at, at + 3)))));
  const filterBox = obMake("div", { className: "lm-view lm-at-filter" }, filterTable);
  const sheet = lmSheet((kernel) => set({ kernel }));
  const facts = lmFacts(obSlide()
    ? ["row: in window", "evenly", "all rows: in window", "evenly", "row\u2019s largest"]
    : ["this row, in its 3 \u00d7 3 window", "\u2026 evenly spread", "all 49 rows, in the window", "\u2026 evenly spread", "this row\u2019s largest weight"]);

  const showVit = (value, query) => {
    const heads = [1, 2].map((head) => headOf(value, head));
    const rows = heads.map(({ token }) => lmRow(token, query));
    // Both heads on one scale, so that their colours compare.
    const limit = Math.max(...heads.map(({ largest }) => largest[query]));
    rows.forEach((row, at) => {
      views[`head${at + 1}`].draw(row, LM_SIDE, LM_SIDE, limit);
      views[`head${at + 1}`].label(limit);
      write[`head${at + 1}`](row, limit);
    });
    facts.set(heads.map(({ inside, even, largest }) => [
      lmPercent(inside[query]), lmPercent(even[query]), lmPercent(lmMean(inside)), lmPercent(lmMean(even)), obText(largest[query], 3),
    ]));
    const { token, end } = heads[value.head - 1];
    draw("headA", token, LM_COUNT, end);
    layOver(rows[value.head - 1], "weights");
    return heads[value.head - 1];
  };
  const showFilter = (value, query) => {
    const found = kernelOf(value);
    const row = lmRow(found.token, query);
    views.row.draw(row, LM_SIDE, LM_SIDE, found.end);
    views.row.label(found.end);
    write.row(row, found.end);
    draw("filterA", found.token, LM_COUNT, found.end);
    layOver(row, "signed");
    if (drawn.filter !== found.filter) {
      drawn.filter = found.filter;
      found.filter.forEach((weight, at) => {
        numbers[at].textContent = obText(weight, 3);
        obShade(numbers[at], weight, found.end, true);
      });
    }
    const all = filters(value);
    const limit = obText(Math.abs(all[lmTop(all)]));
    sheet.set(all, value.kernel, [bold(`All 32 filters of layer ${value.layer}`), obSlide() ? "" : `: one scale, white is 0, ends \u00b1${limit}`]);
    return found;
  };
  const showQuery = () => {
    const value = { ...model.get("value"), ...(hover === null ? {} : { query: hover }) };
    const { query } = value;
    const found = (value.network === "ViT" ? showVit : showFilter)(value, query);
    mark(query);
    card.dataset.query = query;
    const row = lmRow(found.token, query);
    const numbersOf = { row, inside: found.inside[query], even: found.even[query], all: lmMean(found.inside), evenAll: lmMean(found.even) };
    say(sentence(value, numbersOf, obSlide()));
    listing.set(code(value, model.get("places")[value.image], row, found.inside[query]));
    if (hover !== null) return;
    const place = { row: Math.floor(query / LM_SIDE), column: query % LM_SIDE };
    const token = `Token at ${lmPlace(query)}`;
    const words = `${token}: it reads itself with ${obText(row[query], 3)}`;
    // The number is the chosen head's, which the picture of the other head must not say.
    const other = `head${3 - value.head}`;
    for (const name of ["image", "head1", "head2", "row"]) views[name].setCursor(place, name === other ? token : words);
    for (const name of ["headA", "filterA"]) views[name].setCursor({ row: query, column: query }, words);
  };

  // ---- Captions, controls, and which views there are ---------------------------------------------------
  const formula = obMake("p", { className: "lm-formula" });
  const low = (textContent) => obMake("sub", { textContent });
  const project = (name) => [`${name} = X W`, low(name), " + b", low(name)];
  const showNames = (value) => {
    const vit = value.network === "ViT";
    for (const name of ["head1", "head2", "headA"]) obHide(views[name].element, !vit);
    for (const name of ["row", "filterA"]) obHide(views[name].element, vit);
    for (const element of [filterBox, sheet.element]) obHide(element, vit);
    obHide(facts.element, !vit);
    const short = obSlide();
    const who = vit ? `head ${value.head}` : `filter ${value.kernel}`;
    views.image.setCaption(bold(`Digit ${value.image}`), `, ${who} over it`);
    for (const head of [1, 2]) views[`head${head}`].setCaption(bold(`Head ${head}`), ": row of A \u00d7 100");
    views.row.setCaption(bold("Its row of A"), " \u00d7 100");
    views.headA.setCaption(bold(short ? `A, ${who}` : `All of A, ${who}`), short ? "" : ": from X");
    views.filterA.setCaption(bold(short ? `A, ${who}` : `All of A, ${who}`), short ? "" : ": 9 numbers");
    filterTitle.replaceChildren(bold(`Filter ${value.kernel}`), short ? "" : ": nine parameters");
    formula.replaceChildren(...(vit
      ? [blue("A"), " = softmax(Q K\u1d40 / \u221a16), computed here from the digit: ", ...project("Q"), ", ", ...project("K"), "."]
      : ["A row of ", blue("A"), " is the filter, the same in every place, cut at the border. Nothing in it is computed from the digit."]));
  };
  const radio = (name, label, choices, entries) => obRadios({ name, label, onChange: (at) => set(entries(choices[at])) });
  const networks = Object.keys(LM_LAYERS);
  const radios = {
    network: radio("network", "network", networks, (network) => ({ network, layer: Math.min(model.get("value").layer, LM_LAYERS[network]) })),
    training_images: radio("training_images", obSlide() ? "trained on" : "training images", LM_TRAINED, (size) => ({ training_images: size })),
    image: radio("image", obSlide() ? "digit" : "test digit", digits, (image) => ({ image })),
    layer: radio("layer", "layer", [1, 2, 3, 4, 5, 6], (layer) => ({ layer })),
    head: radio("head", "head", [1, 2], (head) => ({ head })),
  };
  const showControls = (value) => {
    const to = (count) => Array.from({ length: count }, (_, at) => String(at + 1));
    radios.network.set(networks, networks.indexOf(value.network));
    radios.training_images.set(LM_TRAINED.map((size) => size.toLocaleString("en-US")), LM_TRAINED.indexOf(value.training_images));
    radios.image.set(digits.map(String), digits.indexOf(value.image));
    radios.layer.set(to(LM_LAYERS[value.network]), value.layer - 1);
    radios.head.set(to(LM_HEADS), value.head - 1);
    obHide(radios.head.element, value.network !== "ViT");
  };
  const reset = obButton("Reset", "", () => {
    hover = null;
    set({ ...model.get("start") });
  }, "ob-button ob-reset");
  controls.append(...Object.values(radios).map(({ element }) => element), reset);

  // ---- Together ---------------------------------------------------------------------------------------
  const listing = obCode();
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Point at a token for what it reads. Click, tap or use the arrow keys to keep it. The dashed square is its 3 \u00d7 3 window.",
  });
  const flow = obMake("div", { className: "lm-flow" },
    views.image.element, views.head1.element, views.head2.element, views.row.element, filterBox,
    views.headA.element, views.filterA.element, facts.element, sheet.element);
  const words = obMake("div", { className: "lm-words" }, readout, listing.element);
  body.append(formula, how, flow, words);

  const valid = (value) => {
    const network = obAmong(networks, value.network, "ViT");
    return {
      network,
      training_images: obAmong(LM_TRAINED, value.training_images, 4000),
      image: obAmong(digits, value.image),
      layer: obWhole(value.layer, 1, LM_LAYERS[network]),
      head: obWhole(value.head, 1, LM_HEADS),
      kernel: obWhole(value.kernel, 1, LM_CHANNELS),
      query: obWhole(value.query, 0, LM_COUNT - 1, 24),
    };
  };
  const show = () => {
    const value = model.get("value");
    showControls(value);
    showNames(value);
    digit(value.image);
    showQuery();
  };
  const stop = obState(model, valid, show);
  el.replaceChildren(card);
  return stop;
}

export default { render };
