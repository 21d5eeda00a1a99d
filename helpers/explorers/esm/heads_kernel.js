// k² heads become a k x k convolution: each head's row of A, their weighted sum, and the error.

const SHARPNESS = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12];
const SIZES = [3, 5, 7];
const BORDERS = ["padded", "unpadded"];

// The Difference is coloured by its size in decades: white up to FAINTEST of the largest output.
const FAINTEST = 0.001;

/**
 * Softmax of -sharpness (j - i - offset)² over the keys j, for each offset n and query i, at place
 * (n * length + i) * length + j. A ring of zeros takes part.
 */
function alongOneAxis(length, k, sharpness, ring) {
  const out = new Float64Array(k * length * length);
  for (let n = 0; n < k; n += 1) {
    for (let i = 0; i < length; i += 1) {
      const aim = i + n - Math.floor(k / 2);
      const nearest = Math.max(-ring, Math.min(length - 1 + ring, aim));
      const part = (j) => Math.exp(sharpness * ((nearest - aim) ** 2 - (j - aim) ** 2));
      let sum = 0;
      for (let j = -ring; j < length + ring; j += 1) sum += part(j);
      const from = (n * length + i) * length;
      for (let j = 0; j < length; j += 1) out[from + j] = part(j) / sum;
    }
  }
  return out;
}

/** Image and kernel, flat, with what the convolution makes of them. */
function pose(image, weight) {
  const [height, width, k] = [image.length, image[0].length, weight.length];
  const [pixels, kernel] = [Float64Array.from(image.flat()), Float64Array.from(weight.flat())];
  const [reach, target] = [Math.floor(k / 2), new Float64Array(height * width)];
  for (let i = 0; i < height; i += 1) {
    for (let j = 0; j < width; j += 1) {
      let sum = 0;
      for (let a = Math.max(0, reach - i); a < Math.min(k, height + reach - i); a += 1) {
        for (let b = Math.max(0, reach - j); b < Math.min(k, width + reach - j); b += 1) {
          sum += kernel[a * k + b] * pixels[(i + a - reach) * width + j + b - reach];
        }
      }
      target[i * width + j] = sum;
    }
  }
  return { height, width, k, pixels, kernel, target };
}

/** The weighted sum of all heads, applied to the image: along its rows first, then down its columns. */
function applyHeads({ height, width, k, pixels, kernel }, down, across) {
  const [mixed, out] = [new Float64Array(k * height * width), new Float64Array(height * width)];
  for (let b = 0; b < k; b += 1) {
    for (let i = 0; i < height; i += 1) {
      for (let j = 0; j < width; j += 1) {
        let sum = 0;
        for (let from = 0; from < width; from += 1) sum += across[(b * width + j) * width + from] * pixels[i * width + from];
        mixed[(b * height + i) * width + j] = sum;
      }
    }
  }
  const line = new Float64Array(height * width);
  for (let a = 0; a < k; a += 1) {
    line.fill(0);
    for (let b = 0; b < k; b += 1) {
      for (let n = 0; n < line.length; n += 1) line[n] += kernel[a * k + b] * mixed[b * line.length + n];
    }
    for (let i = 0; i < height; i += 1) {
      for (let from = 0; from < height; from += 1) {
        const part = down[(a * height + i) * height + from];
        for (let j = 0; j < width; j += 1) out[i * width + j] += part * line[from * width + j];
      }
    }
  }
  return out;
}

/** The size of the difference in parts of the target's, where the kernel stays inside, or everywhere. */
function errorOf({ height, width, target }, output, away) {
  let [missed, all] = [0, 0];
  for (let i = away; i < height - away; i += 1) {
    for (let j = away; j < width - away; j += 1) {
      const n = i * width + j;
      missed += (output[n] - target[n]) ** 2;
      all += target[n] ** 2;
    }
  }
  return Math.sqrt(missed / all);
}

/** What no query changes: both axes' softmaxes (a head's A is their product), output and errors. */
function solve(problem, sharpness, border) {
  const { height, width, k } = problem;
  const ring = border === "padded" ? Math.floor(k / 2) : 0;
  const down = alongOneAxis(height, k, sharpness, ring);
  const across = width === height ? down : alongOneAxis(width, k, sharpness, ring);
  const output = applyHeads(problem, down, across);
  const [inside, whole] = [Math.floor(k / 2), 0].map((away) => errorOf(problem, output, away));
  return { down, across, output, inside, whole };
}

/** The query's rows of A, their weighted sum, and the convolution's row, in a window of the image. */
function rowsOf({ height, width, k, kernel }, { down, across }, query, { top, left, rows, columns }) {
  const [i, j, reach] = [Math.floor(query / width), query % width, Math.floor(k / 2)];
  const [maps, count] = [[], rows * columns];
  const [sum, row] = [new Float64Array(count), new Float64Array(count)];
  for (let h = 0; h < k * k; h += 1) {
    const [a, b] = [Math.floor(h / k), h % k];
    const map = new Float64Array(count);
    for (let r = 0; r < rows; r += 1) {
      const part = down[(a * height + i) * height + top + r];
      for (let c = 0; c < columns; c += 1) {
        const n = r * columns + c;
        map[n] = part * across[(b * width + j) * width + left + c];
        sum[n] += kernel[h] * map[n];
      }
    }
    maps.push(map);
    const [r, c] = [i + a - reach - top, j + b - reach - left];
    if (r >= 0 && r < rows && c >= 0 && c < columns) row[r * columns + c] = kernel[h];
  }
  return { maps, sum, row };
}

/**
 * One state. image (H, W), weight (k, k), query: a pixel, row by row.
 * Gives maps (k², N), sum and row (N), output and target (N), inside and whole.
 */
export function compute({ image, weight, sharpness, border, query }) {
  const problem = pose(image, weight);
  const solved = solve(problem, sharpness, border);
  const everywhere = { top: 0, left: 0, rows: problem.height, columns: problem.width };
  const { maps, sum, row } = rowsOf(problem, solved, query, everywhere);
  return {
    maps: maps.map((map) => Array.from(map)), sum: Array.from(sum), row: Array.from(row),
    output: Array.from(solved.output), target: Array.from(problem.target),
    inside: solved.inside, whole: solved.whole,
  };
}

/** How strongly a difference is coloured, from -1 to 1: one third for each factor of ten. */
export function decades(difference, largest) {
  const share = Math.abs(difference) / largest;
  return share <= FAINTEST ? 0 : Math.sign(difference) * Math.min(1, 1 - Math.log(share) / Math.log(FAINTEST));
}

function percent(part) {
  const share = 100 * part;
  if (share < 0.1) return "less than 0.1 %";
  return share < 0.95 ? `${share.toFixed(2)} %` : `${share.toFixed(0)} %`;
}

/** A weight of a softmax: never 100 %, because it never is. */
function weightWords(part) {
  if (part > 0.999) return "a little less than 100 %";
  if (part < 0.001) return percent(part);
  return `at most ${part > 0.99 ? `${(100 * part).toFixed(1)} %` : percent(part)}`;
}

function offsetWords(down, right) {
  const words = [];
  if (down) words.push(`${Math.abs(down)} ${down > 0 ? "down" : "up"}`);
  if (right) words.push(`${Math.abs(right)} ${right > 0 ? "right" : "left"}`);
  return words.join(" and ") || "at the pixel itself";
}

function code({ k, sharpness, border, inside }) {
  const where = border === "padded" ? "padded" : "inside";
  return [
    "from helpers.mixers import RelativePositionAttention",
    "",
    `conv = nn.Conv2d(1, 1, ${k}, padding=${Math.floor(k / 2)}, bias=False)`,
    `heads = RelativePositionAttention.from_conv(`,
    `    conv, alpha=${sharpness}, border="${where}"`,
    ")",
    "heads.channel_mixing().flatten()       # W of each head: the kernel's weights",
    `heads.token_mixing(image).shape        # (1, ${k * k}, 196, 196)`,
    `away = slice(${Math.floor(k / 2)}, -${Math.floor(k / 2)})`,
    "missed = (heads(image) - conv(image))[..., away, away]",
    `missed.norm() / conv(image)[..., away, away].norm()   # ${(100 * inside).toFixed(1)} %`,
  ].join("\n");
}

function render({ model, el }) {
  const image = model.get("image");
  const side = image.length;
  const { card, controls, body, readout, say } = obCard(model, "heads_kernel");
  const big = obLecture() && !obSlide() ? 1.28 : obSlide() ? 1.14 : 1;
  const listing = obCode();
  const change = (entries) => obChange(model, entries);
  const cellSize = (view, pixels) => view.cells.style.setProperty("--ob-cell", `${(pixels * big).toFixed(2)}px`);

  // ---- The views -----------------------------------------------------------------------------
  const heads = obMatrix({ name: "The heads", kind: "weights",
    onChoose: ({ row, column }) => {
      const tile = model.get("value").size + 5;
      change({ head: Math.floor(row / tile) * model.get("value").size + Math.floor(column / tile) });
    },
  });
  // Arrow keys go from head to head, not from cell to cell.
  heads.element.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const { head, size } = model.get("value");
    const [r, c] = [Math.floor(head / size) + moves[event.key][0], (head % size) + moves[event.key][1]];
    if (r >= 0 && r < size && c >= 0 && c < size) change({ head: r * size + c });
  }, true);
  const choosePlace = ({ row, column }) => {
    const { top, left } = corner();
    change({ query: (top + row) * side + left + column });
  };
  const sum = obMatrix({ name: "The weighted sum of the heads' rows", kind: "signed", onChoose: choosePlace });
  const row = obMatrix({ name: "The convolution's row", kind: "signed", onChoose: choosePlace });
  const missed = obMatrix({ name: "Difference on the image", kind: "signed", cell: 11 * big, scale: false,
    onChoose: ({ row: line, column }) => change({ query: line * side + column }),
  });
  const headsTitle = obMake("b", { className: "hk-token" });
  heads.setCaption(headsTitle);
  sum.setCaption(obMake("b", { textContent: "Weighted sum" }));
  row.setCaption(obMake("b", { textContent: "The convolution" }));
  missed.setCaption(obMake("b", { textContent: "Difference" }), " on the image");
  const bar = obMake("i");
  bar.style.background = `linear-gradient(to right, ${obStops("signed").join(", ")})`;
  const [low, high] = ["Difference: \u2212100 %", "100 % of the largest output, on a log scale: white is under 0.1 %"];
  const decadesScale = obMake("p", { className: "hk-decades" }, `${low} `, bar, ` ${high}`);
  const curve = obSvg('<svg class="hk-curve" viewBox="0 0 300 204" role="img"></svg>');
  const plot = obMake("figure", { className: "ob-matrix hk-plot" }, obMake("figcaption", {}, obMake("b", { textContent: "Error" }), " over sharpness"), curve);
  const words = obMake("div", { className: "hk-words" }, readout, listing.element);
  const views = obMake("div", { className: "hk-views" },
    heads.element,
    obMake("div", { className: "hk-pair" }, sum.element, row.element, missed.element, plot, decadesScale),
  );
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Move the sharpness, then switch the border. Click or tap a head, or a pixel of the other pictures, or use the arrow keys.",
  });
  // On a slide what to do stands beside the pictures, as what is said does.
  if (obSlide()) words.prepend(how);
  else body.append(how);
  body.append(views, words);

  // ---- What is shown --------------------------------------------------------------------------
  const weightOf = (size) => {
    const from = 3 - Math.floor(size / 2);
    return model.get("kernel").slice(from, from + size).map((line) => line.slice(from, from + size));
  };
  /** Whatever has been computed is kept: there are 3 sizes, 2 borders and 10 sharpnesses. */
  const kept = {};
  const keep = (key, make) => (kept[key] ??= make());
  const problemOf = (size) => keep(size, () => {
    const problem = pose(image, weightOf(size));
    const largest = (values) => values.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
    return { ...problem, strongest: largest(problem.kernel), largest: largest(problem.target) };
  });
  const solvedOf = (size, border, sharpness) =>
    keep(`${size} ${border} ${sharpness}`, () => solve(problemOf(size), sharpness, border));
  // No event pays for a curve of ten: they are computed while nothing else is to do.
  const ahead = SIZES.flatMap((size) => BORDERS.flatMap((border) => SHARPNESS.map((one) => [size, border, one])));
  const whenIdle = globalThis.requestIdleCallback ?? ((work) => setTimeout(() => work({ timeRemaining: () => 0 }), 20));
  const workAhead = (deadline) => {
    do solvedOf(...ahead.shift());
    while (ahead.length && deadline.timeRemaining() > 2);
    if (ahead.length) whenIdle(workAhead);
  };
  whenIdle(workAhead);
  /** The window around the query that is shown; it stays inside the image. */
  function corner() {
    const { query, size } = model.get("value");
    const at = (place) => Math.max(0, Math.min(side - size - 4, place - Math.floor((size + 4) / 2)));
    return { top: at(Math.floor(query / side)), left: at(query % side) };
  }
  const [x, y] = [(s) => 44 + (s / 12) * 244, (part) => 150 - part * 132];
  let [curveOf, dots] = ["", []];
  const drawCurve = ({ size, border, sharpness }) => {
    const found = SHARPNESS.map((one) => solvedOf(size, border, one));
    if (curveOf !== `${size} ${border}`) {
      curveOf = `${size} ${border}`;
      const line = (name) => found.map((e, n) => `${n ? "L" : "M"}${x(SHARPNESS[n]).toFixed(1)} ${y(e[name]).toFixed(1)}`).join("");
      const texts = [0, 50, 100].map((n) => `<text x="38" y="${y(n / 100) + 5}" text-anchor="end">${n}</text><path class="hk-rule" d="M44 ${y(n / 100)}H288"/>`);
      const ticks = [0, 2, 4, 6, 8, 10, 12].map((n) => `<text x="${x(n)}" y="172" text-anchor="middle">${n}</text>`);
      curve.innerHTML =
        `<g aria-hidden="true">${texts.join("")}${ticks.join("")}<path d="${line("inside")}"/><path class="hk-dashed" d="${line("whole")}"/>` +
        `<circle r="5"/><circle r="5"/><path d="M112 28h26"/><text x="144" y="35">inside only</text>` +
        `<path class="hk-dashed" d="M112 56h26"/><text x="144" y="63">whole image</text>` +
        `<text x="166" y="198" text-anchor="middle">sharpness (error in %)</text></g>`;
      dots = [...curve.querySelectorAll("circle")];
      curve.setAttribute("aria-label",
        `Error of the ${size ** 2} heads over sharpness, away from the border: ` +
        found.map((e, n) => `${percent(e.inside)} at ${SHARPNESS[n]}`).join(", ") + ".");
    }
    const now = found[SHARPNESS.indexOf(sharpness)];
    [now.inside, now.whole].forEach((error, n) => {
      dots[n].setAttribute("cx", x(sharpness));
      dots[n].setAttribute("cy", y(error));
    });
  };

  const show = () => {
    const value = model.get("value");
    const { size, sharpness, border, query, head } = value;
    const [problem, solved, reach] = [problemOf(size), solvedOf(size, border, sharpness), Math.floor(size / 2)];
    const { top, left } = corner();
    const [tile, count] = [size + 4, size * (size + 5) - 1];
    const rows = rowsOf(problem, solved, query, { top, left, rows: tile, columns: tile });
    const mosaic = new Float64Array(count * count).fill(NaN);
    rows.maps.forEach((map, h) => {
      const corner = Math.floor(h / size) * (tile + 1) * count + (h % size) * (tile + 1);
      for (let r = 0; r < tile; r += 1) mosaic.set(map.subarray(r * tile, (r + 1) * tile), corner + r * count);
    });
    const [line, column] = [Math.floor(query / side), query % side];
    const [down, right] = [Math.floor(head / size) - reach, (head % size) - reach];
    cellSize(heads, { 3: 11, 5: 5.2, 7: 3.05 }[size]);
    heads.draw(mosaic, count, count, 1);
    heads.mark([{
      row: Math.floor(head / size) * (tile + 1), column: (head % size) * (tile + 1), rows: tile, columns: tile,
    }]);
    heads.setCursor({ row: 0, column: 0 }, `Head ${head} looks ${offsetWords(down, right)}.`);
    headsTitle.textContent = `Rows of A of ${size * size} heads`;
    const at = { row: line - top, column: column - left };
    const aim = { row: at.row + down, column: at.column + right };
    const shown = (place) => place.row >= 0 && place.row < tile && place.column >= 0 && place.column < tile;
    for (const [view, values] of [[sum, rows.sum], [row, rows.row]]) {
      cellSize(view, 154 / tile);
      view.draw(values, tile, tile, problem.strongest);
      view.mark([{ ...at, dashed: true }, ...(shown(aim) ? [aim] : [])]);
      view.setCursor(at, `Row ${line}, column ${column}: ${obText(values[at.row * tile + at.column])}.`);
    }
    const off = solved.output.map((result, n) => result - problem.target[n]);
    missed.draw(off.map((one) => decades(one, problem.largest)), side, side, 1);
    missed.mark([{ row: line, column, dashed: true }]);
    missed.setCursor({ row: line, column },
      `Row ${line}, column ${column}: off by ${percent(Math.abs(off[query]) / problem.largest)} of the largest output.`);
    drawCurve(value);
    listing.set(code({ k: size, sharpness, border, inside: solved.inside }));
    const most = (softmax, n, place) => Math.max(...softmax.subarray((n * side + place) * side, (n * side + place + 1) * side));
    const peak = most(solved.down, down + reach, line) * most(solved.across, right + reach, column);
    const out = line + down < 0 || line + down >= side || column + right < 0 || column + right >= side;
    const leaves = !out ? "" : border === "padded" ? ": it aims at a zero outside the image" : ": it aims outside the image, where no token is";
    say(
      `${size * size} heads, sharpness ${sharpness}, border ${border}. From pixel row ${line}, column ${column}, ` +
        `head ${head} looks ${offsetWords(down, right)} and puts ${weightWords(peak)} of its weight on one pixel${leaves}. ` +
        `The sum of all misses the ${size} \u00d7 ${size} convolution by ${percent(solved.inside)} away from the border, ` +
        `by ${percent(solved.whole)} on the whole image.`,
    );
    sharp.set(SHARPNESS.map(String), SHARPNESS.indexOf(sharpness));
    sizes.set(SIZES.map(String), SIZES.indexOf(size));
    borders.set(BORDERS, BORDERS.indexOf(border));
  };

  const sharp = obSlider({ name: "sharpness", label: "sharpness", onChange: (n) => change({ sharpness: SHARPNESS[n] }) });
  const sizes = obSlider({
    name: "size", label: "kernel size k",
    onChange: (n) => {
      // The head that looks at the same offset, or the nearest that there is.
      const { size, head } = model.get("value");
      const reach = Math.floor(SIZES[n] / 2);
      const part = (place) => Math.max(-reach, Math.min(reach, place - Math.floor(size / 2))) + reach;
      change({ size: SIZES[n], head: part(Math.floor(head / size)) * SIZES[n] + part(head % size) });
    },
  });
  const borders = obRadios({ name: "border", label: "border", onChange: (n) => change({ border: BORDERS[n] }) });
  const reset = obButton("Reset", "", () => change(model.get("start")), "ob-button ob-reset");
  controls.append(sharp.element, sizes.element, borders.element, reset);

  const valid = (value) => {
    const size = obNearest(SIZES, value.size, 3);
    return {
      sharpness: obNearest(SHARPNESS, value.sharpness, 2), size, border: obAmong(BORDERS, value.border, "padded"),
      query: obWhole(value.query, 0, side * side - 1), head: obWhole(value.head, 0, size * size - 1),
    };
  };
  const stop = obState(model, valid, show);
  el.replaceChildren(card);
  return stop;
}

export default { render };
