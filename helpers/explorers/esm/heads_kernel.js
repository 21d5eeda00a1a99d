// k² heads become a k x k convolution: each head's row of A, their weighted sum, and the error.

const SHARPNESS = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12];
const SIZES = [3, 5, 7];
const BORDERS = ["padded", "unpadded"];

/** Softmax of -sharpness (j - i - offset)² over the keys j, for each query i; a ring of zeros takes part. */
function alongOneAxis(length, offset, sharpness, ring) {
  return Array.from({ length }, (_, i) => {
    const score = (j) => -sharpness * (j - i - offset) ** 2;
    let [top, sum] = [-Infinity, 0];
    for (let j = -ring; j < length + ring; j += 1) top = Math.max(top, score(j));
    for (let j = -ring; j < length + ring; j += 1) sum += Math.exp(score(j) - top);
    return Array.from({ length }, (_, j) => Math.exp(score(j) - top) / sum);
  });
}

/** Both axes' softmaxes for every offset: a head's A is their product, because the square adds up. */
function factors({ height, width, k, sharpness, border }) {
  const reach = Math.floor(k / 2);
  const ring = border === "padded" ? reach : 0;
  const axis = (length) => Array.from({ length: k }, (_, n) => alongOneAxis(length, n - reach, sharpness, ring));
  const down = axis(height);
  return { down, across: width === height ? down : axis(width) };
}

/** The weighted sum of all heads, applied to an image: along the rows first, then down the columns. */
function applyHeads(image, weight, { down, across }) {
  const [height, width, k] = [image.length, image[0].length, weight.length];
  const mixed = across.map((rows) =>
    image.map((line) => rows.map((row) => row.reduce((sum, part, j) => sum + part * line[j], 0))),
  );
  const out = Array.from({ length: height }, () => new Array(width).fill(0));
  for (let a = 0; a < k; a += 1) {
    const line = Array.from({ length: height }, (_, i) =>
      Array.from({ length: width }, (_, j) => mixed.reduce((sum, one, b) => sum + weight[a][b] * one[i][j], 0)),
    );
    for (let i = 0; i < height; i += 1) {
      for (let from = 0; from < height; from += 1) {
        const part = down[a][i][from];
        if (part === 0) continue;
        for (let j = 0; j < width; j += 1) out[i][j] += part * line[from][j];
      }
    }
  }
  return out;
}

function convolve(image, weight) {
  const reach = Math.floor(weight.length / 2);
  return image.map((line, i) =>
    line.map((_, j) => {
      let sum = 0;
      weight.forEach((row, a) =>
        row.forEach((w, b) => {
          sum += w * (image[i + a - reach]?.[j + b - reach] ?? 0);
        }),
      );
      return sum;
    }),
  );
}

/** The size of the difference in parts of the target's, where the kernel stays inside, or everywhere. */
function errorOf(output, target, away) {
  let [missed, all] = [0, 0];
  for (let i = away; i < target.length - away; i += 1) {
    for (let j = away; j < target[0].length - away; j += 1) {
      missed += (output[i][j] - target[i][j]) ** 2;
      all += target[i][j] ** 2;
    }
  }
  return Math.sqrt(missed / all);
}

/**
 * One state. image (H, W), weight (k, k), query: a pixel, row by row.
 * Gives maps (k², N), sum and row (N), output and target (N), inside and whole.
 */
export function compute({ image, weight, sharpness, border, query }) {
  const [height, width, k] = [image.length, image[0].length, weight.length];
  const both = factors({ height, width, k, sharpness, border });
  const [i, j] = [Math.floor(query / width), query % width];
  const maps = [];
  for (let a = 0; a < k; a += 1) {
    for (let b = 0; b < k; b += 1) {
      maps.push(both.down[a][i].flatMap((part) => both.across[b][j].map((other) => part * other)));
    }
  }
  const sum = new Array(height * width).fill(0);
  maps.forEach((map, h) => {
    const w = weight[Math.floor(h / k)][h % k];
    map.forEach((part, n) => (sum[n] += w * part));
  });
  const reach = Math.floor(k / 2);
  const row = Array.from({ length: height * width }, (_, n) =>
    weight[Math.floor(n / width) - i + reach]?.[(n % width) - j + reach] ?? 0,
  );
  const [output, target] = [applyHeads(image, weight, both), convolve(image, weight)];
  return {
    maps, sum, row, output: output.flat(), target: target.flat(),
    inside: errorOf(output, target, reach), whole: errorOf(output, target, 0),
  };
}

function percent(part) {
  const share = 100 * part;
  if (share < 0.1) return "less than 0.1 %";
  return share < 0.95 ? `${share.toFixed(2)} %` : `${share.toFixed(0)} %`;
}

/** A weight of a softmax: never 100 %, because it never is. */
function weightWords(part) {
  if (part > 0.999) return "little less than 100 %";
  return part > 0.99 ? `${(100 * part).toFixed(1)} %` : percent(part);
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
    event.stopPropagation();
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
  const missed = obMatrix({ name: "Difference on the image", kind: "signed", cell: 11 * big,
    onChoose: ({ row: line, column }) => change({ query: line * side + column }),
  });
  const curve = obSvg('<svg class="hk-curve" viewBox="0 0 300 204" role="img"></svg>');
  const plot = obMake("figure", { className: "ob-matrix hk-plot" }, obMake("figcaption", {}, obMake("b", { textContent: "Error" }), " over sharpness"), curve);
  const words = obMake("div", { className: "hk-words" }, readout, listing.element);
  const views = obMake("div", { className: "hk-views" },
    heads.element,
    obMake("div", { className: "hk-pair" }, sum.element, row.element, missed.element, plot),
  );
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Move the sharpness. Click or tap a head, or a pixel of the other pictures; or use the arrow keys.",
  });
  body.append(how, views, words);

  // ---- What is shown --------------------------------------------------------------------------
  const weightOf = (size) => {
    const from = 3 - Math.floor(size / 2);
    return model.get("kernel").slice(from, from + size).map((line) => line.slice(from, from + size));
  };
  /** The window around the query that is shown; it stays inside the image. */
  function corner() {
    const { query, size } = model.get("value");
    const at = (place) => Math.max(0, Math.min(side - size - 4, place - Math.floor((size + 4) / 2)));
    return { top: at(Math.floor(query / side)), left: at(query % side) };
  }
  const curves = {};
  const errors = ({ size, border }) => {
    curves[`${size} ${border}`] ??= (() => {
      const weight = weightOf(size);
      const target = convolve(image, weight);
      return SHARPNESS.map((sharpness) => {
        const output = applyHeads(image, weight, factors({ height: side, width: side, k: size, sharpness, border }));
        return { inside: errorOf(output, target, Math.floor(size / 2)), whole: errorOf(output, target, 0) };
      });
    })();
    return curves[`${size} ${border}`];
  };
  const drawCurve = (value) => {
    const found = errors(value);
    const [x, y] = [(s) => 44 + (s / 12) * 244, (part) => 150 - part * 132];
    const line = (name) => found.map((e, n) => `${n ? "L" : "M"}${x(SHARPNESS[n]).toFixed(1)} ${y(e[name]).toFixed(1)}`).join("");
    const now = SHARPNESS.indexOf(value.sharpness);
    const texts = [0, 50, 100].map((n) => `<text x="38" y="${y(n / 100) + 5}" text-anchor="end">${n}</text><path class="hk-rule" d="M44 ${y(n / 100)}H288"/>`);
    const ticks = [0, 2, 4, 6, 8, 10, 12].map((n) => `<text x="${x(n)}" y="172" text-anchor="middle">${n}</text>`);
    const dots = ["inside", "whole"].map((name) => `<circle cx="${x(SHARPNESS[now])}" cy="${y(found[now][name])}" r="5"/>`);
    curve.innerHTML =
      `<g aria-hidden="true">${texts.join("")}${ticks.join("")}<path d="${line("inside")}"/><path class="hk-dashed" d="${line("whole")}"/>${dots.join("")}` +
      `<path d="M112 28h26"/><text x="144" y="35">inside only</text>` +
      `<path class="hk-dashed" d="M112 56h26"/><text x="144" y="63">whole image</text>` +
      `<text x="166" y="198" text-anchor="middle">sharpness (error in %)</text></g>`;
    curve.setAttribute("aria-label",
      `Error of the ${value.size ** 2} heads over sharpness, away from the border: ` +
      found.map((e, n) => `${percent(e.inside)} at ${SHARPNESS[n]}`).join(", ") + ".");
  };
  const crop = (values, top, left, size) =>
    Array.from({ length: size * size }, (_, n) => values[(top + Math.floor(n / size)) * side + left + (n % size)]);

  const show = () => {
    const value = model.get("value");
    const { size, sharpness, border, query, head } = value;
    const weight = weightOf(size);
    const result = compute({ image, weight, sharpness, border, query });
    const { top, left } = corner();
    const [tile, count] = [size + 4, size * (size + 5) - 1];
    const mosaic = new Array(count * count).fill(NaN);
    result.maps.forEach((map, h) => {
      const [r, c] = [Math.floor(h / size) * (tile + 1), (h % size) * (tile + 1)];
      crop(map, top, left, tile).forEach((part, n) => {
        mosaic[(r + Math.floor(n / tile)) * count + c + (n % tile)] = part;
      });
    });
    const [line, column] = [Math.floor(query / side), query % side];
    const [down, right] = [Math.floor(head / size) - Math.floor(size / 2), (head % size) - Math.floor(size / 2)];
    cellSize(heads, { 3: 11, 5: 5.2, 7: 3.05 }[size]);
    heads.draw(mosaic, count, count, 1);
    heads.mark([{
      row: Math.floor(head / size) * (tile + 1), column: (head % size) * (tile + 1), rows: tile, columns: tile,
    }]);
    heads.setCursor({ row: 0, column: 0 }, `Head ${head} looks ${offsetWords(down, right)}.`);
    heads.setCaption(obMake("b", { className: "hk-token", textContent: `Rows of A of ${size * size} heads` }));
    const limit = Math.max(...weight.flat().map(Math.abs));
    const at = { row: line - top, column: column - left };
    const aim = { row: at.row + down, column: at.column + right };
    const inside = (place) => place.row >= 0 && place.row < tile && place.column >= 0 && place.column < tile;
    for (const [view, values, name] of [[sum, result.sum, "Weighted sum"], [row, result.row, "The convolution"]]) {
      cellSize(view, 154 / tile);
      view.draw(crop(values, top, left, tile), tile, tile, limit);
      view.mark([{ ...at, dashed: true }, ...(inside(aim) ? [aim] : [])]);
      view.setCursor(at, `Row ${line}, column ${column}: ${obText(values[query])}.`);
      view.setCaption(obMake("b", { textContent: name }));
    }
    missed.draw(result.output.map((y, n) => y - result.target[n]), side, side, Math.max(...result.target.map(Math.abs)));
    missed.mark([{ row: line, column, dashed: true }]);
    missed.setCursor({ row: line, column }, `Row ${line}, column ${column}: off by ${obText(result.output[query] - result.target[query])}.`);
    missed.setCaption(obMake("b", { textContent: "Difference" }), " on the image");
    drawCurve(value);
    listing.set(code({ k: size, sharpness, border, inside: result.inside }));
    const most = Math.max(...result.maps[head]);
    say(
      `${size * size} heads, sharpness ${sharpness}, border ${border}. From pixel row ${line}, column ${column}, ` +
        `head ${head} looks ${offsetWords(down, right)} and puts at most ${weightWords(most)} of its weight on one pixel. ` +
        `The sum of all misses the ${size} \u00d7 ${size} convolution by ${percent(result.inside)} away from the border, ` +
        `by ${percent(result.whole)} on the whole image.`,
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
