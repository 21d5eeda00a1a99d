// Two mixing matrices: a depthwise convolution's and an attention head's, with one query in all views.

/** A of a depthwise convolution with one filter, zeros outside the image: (N x N), row by row. */
function tmDepthwise(filter, [height, width]) {
  const [k, count] = [filter.length, height * width];
  const reach = (k - 1) / 2;
  const token = new Float64Array(count * count);
  for (let n = 0; n < count; n += 1) {
    const [i, j] = [Math.floor(n / width), n % width];
    for (let u = 0; u < k; u += 1) {
      const row = i + u - reach;
      if (row < 0 || row >= height) continue;
      for (let v = 0; v < k; v += 1) {
        const column = j + v - reach;
        if (column >= 0 && column < width) token[n * count + row * width + column] = filter[u][v];
      }
    }
  }
  return token;
}

/** Which keys each query may look at, 1 or 0: all, its window, or the square around it. */
function tmAllowed(support, window, [height, width]) {
  const count = height * width;
  const allowed = new Uint8Array(count * count);
  const reach = Math.floor(window / 2);
  const near = {
    full: () => true,
    window: (a, b) => Math.floor(a / window) === Math.floor(b / window),
    sliding: (a, b) => Math.abs(a - b) <= reach,
  }[support];
  for (let n = 0; n < count; n += 1) {
    for (let m = 0; m < count; m += 1) {
      const rows = near(Math.floor(n / width), Math.floor(m / width));
      if (rows && near(n % width, m % width)) allowed[n * count + m] = 1;
    }
  }
  return allowed;
}

/** softmax(q kᵀ / √d) of one head: its d columns of the projections, its keys where allowed. */
function tmAttention({ tokens, count, query, key, heads, head, allowed }) {
  const channels = query.length;
  const d = query[0].length / heads;
  const project = (weights) => {
    const out = new Float64Array(count * d);
    for (let n = 0; n < count; n += 1) {
      for (let c = 0; c < channels; c += 1) {
        const value = tokens[n * channels + c];
        const line = weights[c];
        for (let e = 0; e < d; e += 1) out[n * d + e] += value * line[head * d + e];
      }
    }
    return out;
  };
  const [q, k] = [project(query), project(key)];
  const token = new Float64Array(count * count);
  const scale = 1 / Math.sqrt(d);
  for (let n = 0; n < count; n += 1) {
    const start = n * count;
    let most = -Infinity;
    for (let m = 0; m < count; m += 1) {
      if (!allowed[start + m]) continue;
      let score = 0;
      for (let e = 0; e < d; e += 1) score += q[n * d + e] * k[m * d + e];
      token[start + m] = score * scale;
      if (token[start + m] > most) most = token[start + m];
    }
    let sum = 0;
    for (let m = 0; m < count; m += 1) {
      if (allowed[start + m]) sum += token[start + m] = Math.exp(token[start + m] - most);
    }
    for (let m = 0; m < count; m += 1) token[start + m] /= sum;
  }
  return token;
}

/** A x for one channel of X. */
function tmApply(token, tokens, count, channel) {
  const channels = tokens.length / count;
  const out = new Float64Array(count);
  for (let n = 0; n < count; n += 1) {
    let sum = 0;
    for (let m = 0; m < count; m += 1) sum += token[n * count + m] * tokens[m * channels + channel];
    out[n] = sum;
  }
  return out;
}

/** Both matrices, and what both make of one channel of X; see TwoMatrices.reference. */
export function compute({ tokens, filter, query, key, grid, heads, head, support, window, channel }) {
  const count = tokens.length;
  const flat = Float64Array.from(tokens.flat());
  // A square has a middle, so the sliding one is odd.
  const allowed = tmAllowed(support, support === "sliding" ? window | 1 : window, grid);
  const depthwise = tmDepthwise(filter, grid);
  const attention = tmAttention({ tokens: flat, count, query, key, heads, head, allowed });
  const lines = (token) => Array.from({ length: count }, (_, n) => Array.from(token.subarray(n * count, (n + 1) * count)));
  return {
    depthwise: lines(depthwise), attention: lines(attention),
    convolved: Array.from(tmApply(depthwise, flat, count, channel)),
    attended: Array.from(tmApply(attention, flat, count, channel)),
  };
}

const TM_SIDE = 14;
const TM_COUNT = TM_SIDE * TM_SIDE;
const TM_WINDOW = 7;
const TM_LIGHTNESS = 2;
const TM_ROUNDING = 1e-9;
const TM_KERNELS = [1, 3, 5, 7];
const TM_HEADS = [1, 2, 4];
const TM_SUPPORTS = ["full", "window", "sliding"];
const TM_SUPPORT_NAMES = ["all", "7 \u00d7 7 windows", "7 \u00d7 7 around"];
const TM_IMAGES = ["photograph", "painted"];
const TM_PATCH = 16;

const tmCount = (number) => number.toLocaleString("en-US");
const tmPlace = (token) => `row ${Math.floor(token / TM_SIDE)}, column ${token % TM_SIDE}`;

/** The end of an attention matrix's scale: at most one cell in 200 lies above it. */
export function scaleEnd(matrix) {
  const ends = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
  const above = new Array(ends.length).fill(0);
  for (const value of matrix) {
    for (let at = 0; at < ends.length && value > ends[at] + TM_ROUNDING; at += 1) above[at] += 1;
  }
  return ends[above.findIndex((cells) => cells <= 0.005 * matrix.length)];
}

/** Non-zeros, negative entries, the lowest and the highest row sum, distinct numbers if they are few. */
function tmCounts(matrix) {
  let [nonzero, negative, low, high] = [0, 0, Infinity, -Infinity];
  const distinct = new Set();
  for (let n = 0; n < TM_COUNT; n += 1) {
    let sum = 0;
    for (let at = n * TM_COUNT; at < (n + 1) * TM_COUNT; at += 1) {
      const value = matrix[at];
      if (value === 0) continue;
      nonzero += 1;
      sum += value;
      if (value < 0) negative += 1;
      if (distinct.size < 50) distinct.add(value);
    }
    [low, high] = [Math.min(low, sum), Math.max(high, sum)];
  }
  return { nonzero, negative, low, high, distinct: distinct.size };
}

/** How many rows of two matrices differ. */
function tmMoved(now, before) {
  if (now === before) return 0;
  let rows = 0;
  for (let n = 0; n < TM_COUNT; n += 1) {
    for (let at = n * TM_COUNT; at < (n + 1) * TM_COUNT; at += 1) {
      if (Math.abs(now[at] - before[at]) > TM_ROUNDING) {
        rows += 1;
        break;
      }
    }
  }
  return rows;
}

/** The code for the current state. X, W_Q, W_K, filter and image are what the figure shows. */
export function code({ kernel_size: k, heads, head, support, query, key }, left, right) {
  const at = key < 0 ? query : key;
  const says = (text, what) => `${text.padEnd(51)}# ${what}`;
  const places = ["row, column = torch.arange(196) // 14, torch.arange(196) % 14"];
  const masks = {
    full: [],
    window: [...places, "window = row // 7 * 2 + column // 7", "hidden = window[:, None] != window"],
    sliding: [
      ...places, "hidden = (row[:, None] - row).abs() > 3", "hidden |= (column[:, None] - column).abs() > 3",
    ],
  };
  return [
    `conv = nn.Conv2d(8, 8, ${k}, padding=${(k - 1) / 2}, groups=8, bias=False)`,
    "conv.weight.data[2, 0] = filter",
    says("A = as_mixing(conv, image).token[0, 2]", "lightness: parameters"),
    says(`A[${query}, ${at}]`, obText(left[at], 3)),
    "",
    `q = (X @ W_Q).unflatten(1, (${heads}, ${8 / heads})).transpose(0, 1)`,
    says(`k = (X @ W_K).unflatten(1, (${heads}, ${8 / heads})).transpose(0, 1)`, "(H, N, d)"),
    `scores = q @ k.mT / math.sqrt(${8 / heads})`,
    ...masks[support],
    ...(masks[support].length ? ["scores = scores.masked_fill(hidden, -torch.inf)"] : []),
    says(`A = scores.softmax(-1)[${head}]`, "computed from X"),
    says(`A[${query}, ${at}]`, obText(right[at], 4)),
  ].join("\n");
}

function render({ model, el }) {
  const { card, controls, body, readout, say } = obCard(model, "two_matrices");
  const projection = model.get("projection");
  const filters = model.get("filters");
  const reads = model.get("reads");
  const brushes = model.get("brushes");
  const channels = projection.length;
  const base = Float64Array.from(model.get("tokens").flat());
  let brush = 0;
  let hover = null;

  const set = (entries) => obChange(model, entries);

  // ---- The numbers, each computed again only when what it comes from has changed ------------------
  let tokens = Float64Array.from(base);
  let paint = 0;
  const remembered = {};
  const once = (name, key, make) => {
    if (remembered[name]?.key !== key) remembered[name] = { key, value: make() };
    return remembered[name].value;
  };
  const allowed = {};
  const attentionOf = (x, { heads, head, support }) => {
    allowed[support] ??= tmAllowed(support, TM_WINDOW, [TM_SIDE, TM_SIDE]);
    return tmAttention({
      tokens: x, count: TM_COUNT, query: projection, key: projection, heads, head, allowed: allowed[support],
    });
  };
  const numbers = () => {
    const value = model.get("value");
    const painted = value.image === "painted";
    const x = painted ? tokens : base;
    const which = `${value.heads} ${value.head} ${value.support}`;
    const seen = painted ? paint : "photograph";
    const k = value.kernel_size;
    const depthwise = once("depthwise", k, () => tmDepthwise(filters[k], [TM_SIDE, TM_SIDE]));
    const before = once("before", which, () => attentionOf(base, value));
    const attention = once("attention", `${which} ${seen}`, () => (x === base ? before : attentionOf(x, value)));
    return {
      x, depthwise, attention,
      end: once("end", `${which} ${seen}`, () => scaleEnd(attention)),
      left: once("left", k, () => tmCounts(depthwise)),
      // Paint changes the weights of a softmax, never how many there are nor their sign.
      right: once("right", which, () => tmCounts(attention)),
      shared: once("shared", `${k} ${value.support}`, () => attention.reduce((sum, a, at) => sum + (a !== 0 && depthwise[at] !== 0), 0)),
      moved: once("moved", `${which} ${seen}`, () => tmMoved(attention, before)),
      light: once("light", seen, () => Float64Array.from({ length: TM_COUNT }, (_, n) => x[n * channels + TM_LIGHTNESS])),
      convolved: once("convolved", `${k} ${seen}`, () => tmApply(depthwise, x, TM_COUNT, TM_LIGHTNESS)),
      attended: once("attended", `${which} ${seen}`, () => tmApply(attention, x, TM_COUNT, TM_LIGHTNESS)),
    };
  };

  // ---- The views ----------------------------------------------------------------------------------
  const placeOf = (token) => ({ row: Math.floor(token / TM_SIDE), column: token % TM_SIDE });
  const tokenOf = ({ row, column }) => row * TM_SIDE + column;
  const look = (entries) => {
    hover = entries;
    showSelection();
  };
  const choose = (entries) => {
    hover = null;
    set(entries);
  };
  const pixels = {
    onPoint: (place) => look(place && { query: tokenOf(place), key: -1 }),
    onChoose: (place) => choose({ query: tokenOf(place), key: -1 }),
  };
  const pairs = {
    onPoint: (place) => look(place && { query: place.row, key: place.column }),
    onChoose: (place) => choose({ query: place.row, key: place.column }),
  };
  /** A matrix with its own scale below: the bar, and below it what its ends and its zero stand for. */
  const view = (name, kind, cell, events) => {
    const matrix = obMatrix({ name, kind, cell, scale: false, ...events });
    if (kind === "picture") return matrix;
    const stops = obStops(kind).join(", ");
    const bar = obMake("i");
    bar.style.background = `linear-gradient(to right, ${stops})`;
    const ends = (kind === "signed" ? ["", "0", ""] : ["0", ""]).map((text) => obMake("span", { textContent: text }));
    matrix.element.append(obMake("div", { className: "tm-scale", "aria-hidden": "true" }, bar, obMake("span", {}, ...ends)));
    const put = (element, text) => {
      if (element.textContent !== text) element.textContent = text;
    };
    matrix.label = (limit) => {
      if (kind === "signed") put(ends[0], obText(-limit));
      put(ends[ends.length - 1], obText(limit, limit < 0.1 ? 3 : 2));
    };
    return matrix;
  };
  const map = (name, kind) => view(name, kind, TM_SIDE, pixels);
  const views = {
    image: view("The image, 14 by 14 tokens", "picture", TM_SIDE, {
      ...pixels,
      onPaint: (place, first) => (model.get("value").image === "painted" ? paintAt(place, first) : pixels.onChoose(place)),
    }),
    left: view("A of the depthwise convolution, 196 by 196", "signed", 1, pairs),
    right: view("A of the attention head, 196 by 196", "weights", 1, pairs),
    filter: view("The filter", "signed", 28, {
      onPoint: (place) => look(place && { key: besideQuery(place, model.get("value").query) }),
      onChoose: (place) => choose({ key: besideQuery(place, model.get("value").query) }),
    }),
    leftRow: map("The filter's row over the image", "signed"),
    rightRow: map("The head's row over the image", "weights"),
    light: map("X, channel lightness", "signed"),
    convolved: map("A X of the depthwise convolution, channel lightness", "signed"),
    attended: map("A X of the head, channel lightness", "signed"),
  };
  const flow = obMake("div", { className: "tm-flow" });
  for (const [name, { element }] of Object.entries(views)) {
    element.classList.add("tm-view", `tm-at-${name}`);
    flow.append(element);
  }
  const besideQuery = ({ row, column }, query) => {
    const reach = (model.get("value").kernel_size - 1) / 2;
    const at = placeOf(query);
    const [i, j] = [at.row + row - reach, at.column + column - reach];
    return i >= 0 && j >= 0 && i < TM_SIDE && j < TM_SIDE ? tokenOf({ row: i, column: j }) : -1;
  };

  // The photograph lies below the cells of three views, paler where a row of A lies over it.
  const side = TM_SIDE * TM_PATCH;
  const papers = ["image", "leftRow", "rightRow"].map((name) => {
    const paper = obMake("canvas", { className: "tm-paper", width: side, height: side, "aria-hidden": "true" });
    views[name].cells.prepend(paper);
    return paper.getContext("2d");
  });
  const picture = new Image();
  const blank = new Uint8ClampedArray(4 * TM_COUNT);
  const colour = (index) => `rgb(${brushes[index].colour.join(" ")})`;
  const patch = (context, token) => {
    const brushAt = model.get("painted")[token];
    const { row, column } = placeOf(token);
    const box = [column * TM_PATCH, row * TM_PATCH, TM_PATCH, TM_PATCH];
    if (brushAt >= 0) {
      context.fillStyle = colour(brushAt);
      context.fillRect(...box);
    } else if (picture.naturalWidth) context.drawImage(picture, ...box, ...box);
  };
  let paperShows = "";
  const showPaper = () => {
    const painted = model.get("value").image === "painted";
    const shows = `${painted ? paint : "photograph"} ${picture.naturalWidth}`;
    if (shows === paperShows) return;
    paperShows = shows;
    for (const context of papers) {
      if (picture.naturalWidth) context.drawImage(picture, 0, 0);
      if (painted) model.get("painted").forEach((one, token) => one >= 0 && patch(context, token));
    }
  };
  picture.addEventListener("load", showPaper);
  picture.src = model.get("picture");

  // ---- Painting -------------------------------------------------------------------------------------
  const repaint = () => {
    tokens = Float64Array.from(base);
    model.get("painted").forEach((one, token) => one >= 0 && tokens.set(brushes[one].look, token * channels));
    paint += 1;
  };
  const putPaint = (painted) => {
    model.set("painted", painted);
    if (model.get("value").image !== "painted") set({ image: "painted" });
    model.save_changes();
  };
  const paintAt = (place) => {
    const painted = [...model.get("painted")];
    if (painted[tokenOf(place)] === brush) return;
    painted[tokenOf(place)] = brush;
    putPaint(painted);
  };
  const nothing = () => new Array(TM_COUNT).fill(-1);

  // ---- What all views say of the selection ------------------------------------------------------------
  const selection = () => {
    const { query, key } = model.get("value");
    return { query, key, ...hover };
  };
  const overlay = new Uint8ClampedArray(4 * TM_COUNT);
  const palettes = {};
  const layOver = (target, matrix, query, limit, kind) => {
    palettes[kind] ??= obColours(kind);
    const palette = palettes[kind];
    for (let m = 0; m < TM_COUNT; m += 1) {
      const weight = matrix[query * TM_COUNT + m];
      const part = Math.min(1, Math.abs(weight) / limit);
      const at = 4 * Math.round(kind === "signed" ? 127.5 + 127.5 * Math.sign(weight) * part : 255 * part);
      for (let c = 0; c < 3; c += 1) overlay[4 * m + c] = palette[at + c];
      overlay[4 * m + 3] = weight === 0 ? 0 : 255 * (0.3 + 0.7 * Math.sqrt(part));
    }
    target.drawColours(overlay, TM_SIDE, TM_SIDE);
  };
  let selected = "";
  const showSelection = () => {
    const value = model.get("value");
    const { query, key } = selection();
    const state = numbers();
    const filter = filters[value.kernel_size];
    const limit = once("limit", value.kernel_size, () => largest(filter.flat()));
    const row = (matrix) => matrix.subarray(query * TM_COUNT, (query + 1) * TM_COUNT);
    const [left, right] = [row(state.depthwise), row(state.attention)];
    let top = 0;
    for (let m = 0; m < TM_COUNT; m += 1) if (right[m] > right[top] + TM_ROUNDING) top = m;
    layOver(views.leftRow, state.depthwise, query, limit, "signed");
    layOver(views.rightRow, state.attention, query, right[top], "weights");
    views.leftRow.label(limit);
    views.rightRow.label(right[top]);

    const marks = `${query} ${key} ${value.kernel_size}`;
    if (marks !== selected) {
      selected = marks;
      const ends = [placeOf(query), ...(key >= 0 && key !== query ? [{ ...placeOf(key), dashed: true }] : [])];
      for (const name of ["image", "leftRow", "rightRow", "light", "convolved", "attended"]) views[name].mark(ends);
      const rows = [{ row: query - 3, column: 0, rows: 7, columns: TM_COUNT }];
      if (key >= 0) rows.push({ row: query - 4, column: key - 4, rows: 9, columns: 9, dashed: true });
      for (const name of ["left", "right"]) views[name].mark(rows);
      const [from, to] = [placeOf(query), placeOf(Math.max(key, 0))];
      const reach = (value.kernel_size - 1) / 2;
      const [u, v] = [to.row - from.row + reach, to.column - from.column + reach];
      const inside = key >= 0 && u >= 0 && v >= 0 && u < filter.length && v < filter.length;
      views.filter.mark([{ row: reach, column: reach }, ...(inside && key !== query ? [{ row: u, column: v, dashed: true }] : [])]);
    }
    card.dataset.query = query;
    card.dataset.key = key;

    const count = (list, test) => list.reduce((sum, weight) => sum + test(weight), 0);
    const nonzero = [left, right].map((list) => count(list, (weight) => weight !== 0));
    const negative = count(left, (weight) => weight < 0);
    const sum = left.reduce((total, weight) => total + weight, 0);
    const pair = key < 0
      ? ""
      : ` For the key at ${tmPlace(key)}: ${obText(left[key], 3)} in the filter's matrix, ${obText(right[key], 3)} in the head's.`;
    const k = value.kernel_size;
    const painted = value.image === "painted" && model.get("painted").some((one) => one >= 0);
    const columns = projection.length / value.heads;
    // The first four channels of X are those that paint changes.
    const still = projection.slice(0, 4).every((line) => line.slice(value.head * columns, (value.head + 1) * columns).every((gain) => gain === 0));
    const place = still ? " This head reads places alone: paint does not move it." : "";
    const moved = obSlide()
      ? ` Paint moved ${state.moved} rows of the head, none of the filter.${place}`
      : ` Your paint moved ${state.moved} of the head\u2019s 196 rows and none of the filter\u2019s.${place}`;
    const paintSaid = painted ? moved : place || " Paint on the image, and only the right-hand matrix moves.";
    const whole =
      `Row ${query} of both matrices: the token at ${tmPlace(query)}. ` +
      `Depthwise, ${k} \u00d7 ${k}: ${nonzero[0]} of 196 weights ${nonzero[0] === 1 ? "is" : "are"} not zero, ${negative} of them negative; they sum to ${obText(sum)}. ` +
      `Head ${value.head + 1} of ${value.heads}: ${nonzero[1]} weights, none negative; they sum to 1; ` +
      `the largest is ${obText(right[top], 3)}, at ${tmPlace(top)}.`;
    const brief =
      `Token at ${tmPlace(query)}. Filter: ${nonzero[0]} weights, ${negative} negative, sum ${obText(sum)}. ` +
      `Head: ${nonzero[1]} weights, none negative, sum 1, largest ${obText(right[top], 3)}.`;
    say(`${obSlide() ? brief : whole}${pair}${paintSaid}`);
    listing.set(code({ ...value, query, key }, left, right));
    if (hover) return;
    const words = `Query at ${tmPlace(query)}`;
    for (const name of ["image", "leftRow", "rightRow", "light", "convolved", "attended"]) views[name].setCursor(placeOf(query), words);
    const cell = { row: query, column: Math.max(key, 0) };
    views.left.setCursor(cell, `${words}, key at ${tmPlace(cell.column)}: ${obText(left[cell.column], 3)}`);
    views.right.setCursor(cell, `${words}, key at ${tmPlace(cell.column)}: ${obText(right[cell.column], 3)}`);
    views.filter.setCursor({ row: (k - 1) / 2, column: (k - 1) / 2 }, words);
  };

  // ---- What they say of the matrices --------------------------------------------------------------------
  const facts = [
    ["not zero", (s) => [tmCount(s.left.nonzero), tmCount(s.right.nonzero)]],
    ["in both", (s) => [tmCount(s.shared), tmCount(s.shared)]],
    ["set by", (s) => [`${s.left.distinct} ${s.left.distinct === 1 ? "number" : "numbers"}`, "X"]],
    ["negative", (s) => [tmCount(s.left.negative), tmCount(s.right.negative)]],
    ["rows sum to", (s) => [[s.left.low, s.left.high].map((sum) => obText(sum, obSlide() ? 1 : 2)).join(" to "), "1"]],
    ["moved by paint", (s) => ["0 rows", `${s.moved} rows`]],
  ];
  const cells = facts.map(([name]) => [obMake("th", { scope: "row", textContent: name }), obMake("td"), obMake("td")]);
  const table = obMake("table", { className: "tm-facts" },
    obMake("caption", { textContent: obSlide() ? "Both matrices" : "Both matrices: 196 rows, 38,416 cells" }),
    obMake("thead", {}, obMake("tr", {}, obMake("td"), obMake("th", { scope: "col", textContent: "depthwise" }), obMake("th", { scope: "col", textContent: "head" }))),
    obMake("tbody", {}, ...cells.map((line) => obMake("tr", {}, ...line))),
  );
  const showFacts = (state) => {
    facts.forEach(([, read], at) => read(state).forEach((text, side_) => {
      const cell = cells[at][side_ + 1];
      if (cell.textContent !== text) cell.textContent = text;
    }));
  };

  const bold = (text) => obMake("b", { textContent: text });
  const drawn = {};
  const largest = (list) => list.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
  let captions = "";
  const showMatrices = () => {
    const value = model.get("value");
    const state = numbers();
    const k = value.kernel_size;
    const filter = filters[k];
    const limit = once("limit", k, () => largest(filter.flat()));
    const draw = (name, source, rows, end) => {
      if (drawn[name] === source) return;
      drawn[name] = source;
      views[name].draw(source, rows, rows, end);
      views[name].label(end);
    };
    draw("left", state.depthwise, TM_COUNT, limit);
    draw("right", state.attention, TM_COUNT, state.end);
    draw("filter", once("flat", k, () => filter.flat()), k, limit);
    for (const name of ["light", "convolved", "attended"]) draw(name, state[name], TM_SIDE, largest(state[name]));
    if (!drawn.image) views.image.drawColours((drawn.image = blank), TM_SIDE, TM_SIDE);
    showPaper();
    showFacts(state);
    const shows = `${k} ${value.heads} ${value.head} ${value.image}`;
    if (shows === captions) return;
    captions = shows;
    const [short, of] = [obSlide(), `head ${value.head + 1} of ${value.heads}`];
    const two = (name, rest) => [bold(name), short ? "" : rest];
    views.image.setCaption(bold("Image"), ": 14 \u00d7 14 tokens");
    views.left.setCaption(...two("Depthwise A", ": parameters"));
    views.right.setCaption(...two("Attention A", ": from X"));
    views.filter.setCaption(...two("Filter", `, ${k} \u00d7 ${k}`));
    views.leftRow.setCaption(...two("Its row", ", laid over the image"));
    views.rightRow.setCaption(...two("Its row", `, ${of}`));
    views.light.setCaption(...two("X", ", channel lightness"));
    views.convolved.setCaption(...two("A X", ", depthwise"));
    views.attended.setCaption(...two("A X", `, ${of}`));
  };

  // ---- Controls ---------------------------------------------------------------------------------------
  const radios = {
    kernel_size: obRadios({ name: "kernel_size", label: obSlide() ? "k" : "kernel size k", onChange: (at) => set({ kernel_size: TM_KERNELS[at] }) }),
    heads: obRadios({ name: "heads", label: obSlide() ? "H" : "heads H", onChange: (at) => set({ heads: TM_HEADS[at], head: Math.min(model.get("value").head, TM_HEADS[at] - 1) }) }),
    head: obRadios({ name: "head", label: obSlide() ? "head" : "head shown", onChange: (at) => set({ head: at }) }),
    support: obRadios({ name: "support", label: "keys", onChange: (at) => set({ support: TM_SUPPORTS[at] }) }),
    image: obRadios({ name: "image", label: "image", onChange: (at) => set({ image: TM_IMAGES[at] }) }),
    brush: obRadios({ name: "brush", label: "brush", onChange: (at) => {
      brush = at;
      showControls();
    } }),
  };
  const spot = obButton("Paint a spot", "", () => {
    const painted = [...model.get("painted")];
    for (let row = 2; row < 5; row += 1) for (let column = 10; column < 13; column += 1) painted[tokenOf({ row, column })] = brush;
    putPaint(painted);
  });
  const clear = obButton("Clear to white", "", () => putPaint(new Array(TM_COUNT).fill(brushes.length - 1)));
  const restore = obButton("Remove the paint", "", () => putPaint(nothing()));
  const painting = obMake("span", { className: "tm-painting" }, radios.brush.element, clear, restore);
  const reset = obButton("Reset", "", () => {
    hover = null;
    brush = 0;
    model.set("painted", nothing());
    model.set("value", { ...model.get("start") });
    model.save_changes();
    showControls();
  }, "ob-button ob-reset");
  controls.append(
    radios.kernel_size.element, radios.heads.element, radios.head.element, radios.support.element,
    radios.image.element, painting, spot, reset,
  );
  const showControls = () => {
    const value = model.get("value");
    radios.kernel_size.set(TM_KERNELS.map(String), TM_KERNELS.indexOf(value.kernel_size));
    radios.heads.set(TM_HEADS.map(String), TM_HEADS.indexOf(value.heads));
    radios.head.set(reads[value.heads].map((text, at) => `${at + 1}: ${text}`), value.head);
    radios.support.set(TM_SUPPORT_NAMES.map((name) => (obSlide() ? name.replace("7 \u00d7 7 ", "") : name)), TM_SUPPORTS.indexOf(value.support));
    radios.image.set(["photograph", "paint on it"], TM_IMAGES.indexOf(value.image));
    radios.brush.set(brushes.map(({ name }) => name), brush);
    const painted = value.image === "painted";
    obHide(painting, !painted);
    views.image.cells.classList.toggle("ob-paint", painted);
  };

  // ---- Together ---------------------------------------------------------------------------------------
  const listing = obCode();
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Point at a token for its row in both matrices, or at a cell of a matrix for its query and key. " +
      "Click, tap or use the arrow keys to keep it. With \u201cpaint on it\u201d, drag over the image, or press Space.",
  });
  const words = obMake("div", { className: "tm-words" }, table, readout);
  if (obSlide()) words.append(listing.element);
  const credit = obMake("p", { className: "tm-credit", textContent: model.get("credit") });
  const letter = (text, role) => obMake("b", { className: `tm-${role}`, textContent: text });
  const formula = obMake("p", { className: "tm-formula" },
    "Y = \u03a3 ", letter("A", "token"), " X ", letter("W", "channel"), " + b. Here is ", letter("A", "token"),
    ", the token mixing: of one channel on the left, of one head on the right.");
  body.append(formula, how, obMake("div", { className: "tm-views" }, flow, words), ...(obSlide() ? [] : [listing.element]), credit);

  const valid = (value) => {
    const heads = obAmong(TM_HEADS, value.heads, 2);
    return {
      kernel_size: obAmong(TM_KERNELS, value.kernel_size, 7), heads,
      head: obWhole(value.head, 0, heads - 1),
      support: obAmong(TM_SUPPORTS, value.support, "full"),
      image: obAmong(TM_IMAGES, value.image, "photograph"),
      query: obWhole(value.query, 0, TM_COUNT - 1, 102),
      key: obWhole(value.key, -1, TM_COUNT - 1),
    };
  };
  const show = () => {
    showControls();
    showMatrices();
    showSelection();
  };
  const paintedChanged = () => {
    repaint();
    showMatrices();
    showSelection();
  };
  repaint();
  const stop = obState(model, valid, show, { painted: paintedChanged });
  el.replaceChildren(card);
  return stop;
}

export default { render };
