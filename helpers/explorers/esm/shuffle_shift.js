// Shuffle and shift: does moving the pixels before a layer give what moving them after it gives?

/**
 * One attention head and a depthwise convolution, each before and after the pixels are moved.
 * x (C, H, W), kernels (C, k, k), query, key, value (C, C) as rows times matrix, position (C, H, W)
 * or null, order: the pixel that stands at each place afterwards, padding "zeros" or "circular".
 * Gives moved, and for "attention" and "depthwise": _moved_first f(P x), _mixed_first P f(x), _error
 * (the norm of their difference over the norm of f(x)), _pixels (how many pixels differ).
 */
export function compute({ x, kernels, query, key, value, position = null, order, padding }) {
  const [channels, height, width] = [x.length, x[0].length, x[0][0].length];
  const count = height * width;
  const flat = (planes) => planes.map((plane) => plane.flat());
  const move = (planes) => planes.map((plane) => order.map((n) => plane[n]));
  const image = flat(x);
  const places = position ? flat(position) : null;

  const project = (planes, matrix) =>
    matrix[0].map((_, o) => {
      const line = new Float64Array(count);
      planes.forEach((plane, c) => {
        for (let n = 0; n < count; n += 1) line[n] += plane[n] * matrix[c][o];
      });
      return line;
    });
  const attend = (planes) => {
    const tokens = places ? planes.map((plane, c) => plane.map((v, n) => v + places[c][n])) : planes;
    const [q, k, v] = [query, key, value].map((matrix) => project(tokens, matrix));
    const scale = 1 / Math.sqrt(channels);
    const out = v.map(() => new Float64Array(count));
    const row = new Float64Array(count);
    for (let i = 0; i < count; i += 1) {
      let [most, total] = [-Infinity, 0];
      for (let j = 0; j < count; j += 1) {
        let score = 0;
        for (let c = 0; c < channels; c += 1) score += q[c][i] * k[c][j];
        row[j] = score * scale;
        if (row[j] > most) most = row[j];
      }
      for (let j = 0; j < count; j += 1) total += row[j] = Math.exp(row[j] - most);
      for (let c = 0; c < channels; c += 1) {
        let sum = 0;
        for (let j = 0; j < count; j += 1) sum += row[j] * v[c][j];
        out[c][i] = sum / total;
      }
    }
    return out.map((plane) => Array.from(plane));
  };
  const convolve = (planes) =>
    planes.map((plane, c) => {
      const kernel = kernels[c];
      const reach = (kernel.length - 1) / 2;
      return plane.map((_, n) => {
        const [i, j] = [Math.floor(n / width), n % width];
        let sum = 0;
        for (let a = -reach; a <= reach; a += 1) {
          for (let b = -reach; b <= reach; b += 1) {
            let [r, s] = [i + a, j + b];
            if (padding === "circular") [r, s] = [(r + height) % height, (s + width) % width];
            if (r < 0 || s < 0 || r >= height || s >= width) continue;
            sum += kernel[a + reach][b + reach] * plane[r * width + s];
          }
        }
        return sum;
      });
    });

  const moved = move(image);
  const result = { moved };
  for (const [name, layer] of [["attention", attend], ["depthwise", convolve]]) {
    const [first, after] = [layer(moved), move(layer(image))];
    let [off, size] = [0, 0];
    const differs = new Set();
    first.forEach((plane, c) =>
      plane.forEach((v, n) => {
        off += (v - after[c][n]) ** 2;
        size += after[c][n] ** 2;
        if (Math.abs(v - after[c][n]) > 1e-9) differs.add(n);
      }),
    );
    result[`${name}_moved_first`] = first;
    result[`${name}_mixed_first`] = after;
    result[`${name}_error`] = Math.sqrt(off / size);
    result[`${name}_pixels`] = differs.size;
  }
  return result;
}

/** Which pixel stands where after a move: a shift to the right around the edge, or a shuffle. */
export function orderOf(move, times, height, width) {
  const order = Array.from({ length: height * width }, (_, n) => n);
  if (move === "shift") {
    return order.map((n) => Math.floor(n / width) * width + ((n % width) - (times % width) + width) % width);
  }
  let state = (times * 2654435761 + 12345) >>> 0;
  for (let last = order.length - 1; last > 0; last -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

const SHUFFLES = 99;

/** The code for the current state. */
function code({ move, times, positions, padding, filter_size: size, channels, attention, depthwise }) {
  const moves =
    move === "shift"
      ? `P = lambda t: t.roll(${times}, dims=3)`
      : "P = lambda t: t.flatten(2)[..., order].view_as(t)";
  const mode = padding === "circular" ? ', padding_mode="circular"' : "";
  return [
    `attention = MultiHeadAttention(${channels}, heads=1, bias=False)   # W_O = identity here`,
    `conv = DepthwiseConv(${channels}, ${size}, bias=False${mode})`,
    moves,
    positions ? "f = lambda x: attention(x + position)" : "f = attention",
    "",
    `(f(P(x)) - P(f(x))).norm() / f(x).norm()`.padEnd(52) + `# ${attention}`,
    `(conv(P(x)) - P(conv(x))).norm() / conv(x).norm()`.padEnd(52) + `# ${depthwise}`,
  ].join("\n");
}

function render({ model, el }) {
  const x = model.get("x");
  const [channels, height, width] = [x.length, x[0].length, x[0][0].length];
  const kernels = model.get("kernels");
  const sizes = Object.keys(kernels).map(Number).sort((a, b) => a - b);
  const { card, controls, body, say } = obCard(model, "shuffle_shift");
  const listing = obCode();

  const change = (entries) => obChange(model, entries);
  let hover = null;
  let result = null;

  // ---- Controls --------------------------------------------------------------------------------
  const shift = obButton("Shift one pixel", "", () => {
    const { move, times } = model.get("value");
    change({ move: "shift", times: move === "shift" ? (times + 1) % width : 1 });
  });
  const shuffle = obButton("Shuffle pixels", "", () => {
    const { move, times } = model.get("value");
    change({ move: "shuffle", times: move === "shuffle" ? (times % SHUFFLES) + 1 : 1 });
  });
  const choices = {
    positions: { label: "position embedding", all: [false, true], texts: ["none", "added"] },
    filter_size: { label: "filter", all: sizes, texts: sizes.map((k) => `${k} \u00d7 ${k}`) },
    padding: { label: "padding", all: ["circular", "zeros"], texts: ["circular", "zeros"] },
  };
  const radios = Object.entries(choices).map(([name, { label, all, texts }]) => {
    const control = obRadios({ name, label, onChange: (at) => change({ [name]: all[at] }) });
    return { ...control, update: () => control.set(texts, all.indexOf(model.get("value")[name])) };
  });
  const reset = obButton("Reset", "", () => {
    hover = null;
    change({ ...model.get("start") });
  }, "ob-button ob-reset");
  controls.append(shift, shuffle, ...radios.map(({ element }) => element), reset);

  // ---- Views: one spot in all of them ------------------------------------------------------------
  const order = () => {
    const { move, times } = model.get("value");
    return orderOf(move, times, height, width);
  };
  const spot = () => hover ?? model.get("value").spot;
  const placeOf = (n) => ({ row: Math.floor(n / width), column: n % width });
  const view = (name, kind, pixelAt) => {
    const matrix = obMatrix({
      card, name, kind, cell: 14, scale: false,
      onPoint: (at) => {
        hover = at ? pixelAt(at.row * width + at.column) : null;
        showSpot();
      },
      onChoose: (at) => {
        hover = null;
        change({ spot: pixelAt(at.row * width + at.column) });
      },
    });
    return { ...matrix, name };
  };
  const before = (n) => n;
  const after = (n) => order()[n];
  const views = {
    x: view("The image x, channel 0", "picture", before),
    moved: view("The moved image P x, channel 0", "picture", after),
  };
  const layers = ["attention", "depthwise"];
  for (const layer of layers) {
    views[`${layer}_moved_first`] = view(`${layer}, moved first: f(P x)`, "signed", after);
    views[`${layer}_mixed_first`] = view(`${layer}, mixed first: P f(x)`, "signed", after);
    views[`${layer}_difference`] = view(`${layer}, the difference`, "signed", after);
  }
  views.x.setCaption(obMake("b", { textContent: "x" }), " the image");
  views.moved.setCaption(obMake("b", { textContent: "P x" }), " moved");
  const lines = layers.map((layer) => {
    views[`${layer}_moved_first`].setCaption(obMake("b", { textContent: "f(P x)" }));
    views[`${layer}_mixed_first`].setCaption(obMake("b", { textContent: "P f(x)" }));
    views[`${layer}_difference`].setCaption("difference");
    const title = obMake("p", { className: "ss-title" });
    const error = obMake("p", { className: "ss-error" });
    const scale = obMake("p", { className: "ss-scale" });
    const element = obMake("div", { className: `ss-layer ss-${layer}` },
      obMake("div", { className: "ss-words" }, title, error),
      obMake("div", { className: "ss-maps" },
        views[`${layer}_moved_first`].element,
        views[`${layer}_mixed_first`].element,
        views[`${layer}_difference`].element),
      scale,
    );
    return { layer, title, error, scale, element };
  });
  const how = obMake("p", {
    className: "ob-how",
    textContent: "P moves the pixels; f is the layer. Moved first, f(P x), against mixed first, P f(x). " +
      "The error is the size of their difference over the size of f(x).",
  });
  body.append(
    how,
    obMake("div", { className: "ss-views" },
      obMake("div", { className: "ss-input" }, views.x.element, views.moved.element),
      obMake("div", { className: "ss-layers" }, ...lines.map(({ element }) => element)),
    ),
  );
  card.append(listing.element);

  const short = (error) => (error < 1e-9 ? "0, to rounding" : obText(error));
  const at = (n) => `(${Math.floor(n / width)}, ${n % width})`;
  const name = (layer) => {
    const { positions, filter_size: k, padding } = model.get("value");
    if (layer === "attention") return `Attention ${positions ? "with" : "without"} positions`;
    return `Depthwise ${k} \u00d7 ${k}, ${padding === "zeros" ? "zero" : "circular"} padding`;
  };

  const showSpot = () => {
    const pixel = spot();
    const now = order().indexOf(pixel);
    for (const [key, one] of Object.entries(views)) {
      const place = placeOf(key === "x" ? pixel : now);
      one.mark([place]);
      one.setCursor(place, `Row ${place.row}, column ${place.column}`);
    }
    card.dataset.spot = pixel;
    sentence(pixel, now);
  };
  const sentence = (pixel, now) => {
    const { move, times } = model.get("value");
    const done = move === "shift"
      ? times ? `Shifted by ${times} ${times === 1 ? "pixel" : "pixels"} to the right. ` : "Not moved. "
      : "Shuffled. ";
    const words = layers.map((layer) => {
      const error = result[`${layer}_error`];
      return error < 1e-9
        ? `${name(layer)}: move then mix is mix then move, up to rounding.`
        : `${name(layer)}: off by ${obText(error)} times the size of its output, in ` +
          `${result[`${layer}_pixels`]} of ${height * width} pixels.`;
    });
    const moved = layers.map((layer) => {
      const [one, other] = [result[`${layer}_mixed_first`][0][now], result[`${layer}_moved_first`][0][now]];
      return `${layer} gave it ${obText(one)} and gives it ${obText(other)} now`;
    });
    say(`${done}${words.join(" ")} Pixel ${at(pixel)} stands at ${at(now)}: ${moved.join("; ")}.`);
  };
  // The colours are the card's: it has them once it stands on the page.
  let waiting = 0;
  const paint = () => {
    cancelAnimationFrame(waiting);
    if (!card.isConnected) {
      waiting = requestAnimationFrame(paint);
      return;
    }
    const limit = (...planes) => Math.max(...planes.flat().map(Math.abs));
    const bright = limit(x[0].flat());
    // A picture's scale starts at 0: the image is shown with its darkest pixel black.
    const lift = (plane) => plane.map((v) => v + bright);
    views.x.draw(lift(x[0].flat()), height, width, 2 * bright);
    views.moved.draw(lift(result.moved[0]), height, width, 2 * bright);
    for (const { layer, scale } of lines) {
      const [first, mixed] = [result[`${layer}_moved_first`][0], result[`${layer}_mixed_first`][0]];
      const end = limit(first, mixed);
      views[`${layer}_moved_first`].draw(first, height, width, end);
      views[`${layer}_mixed_first`].draw(mixed, height, width, end);
      views[`${layer}_difference`].draw(first.map((v, n) => v - mixed[n]), height, width, end);
      scale.textContent = `One scale: ${obText(-end, 1)} purple, 0 white, ${obText(end, 1)} gold.`;
    }
    showSpot();
  };
  const show = () => {
    const state = model.get("value");
    result = compute({
      x, kernels: kernels[state.filter_size], query: model.get("query"), key: model.get("key"),
      value: model.get("values"), position: state.positions ? model.get("position") : null,
      order: order(), padding: state.padding,
    });
    for (const { layer, title, error } of lines) {
      const off = result[`${layer}_error`];
      title.textContent = name(layer);
      error.replaceChildren("error ", obMake("strong", { textContent: short(off) }));
    }
    for (const one of radios) one.update();
    listing.set(code({
      ...state, channels, attention: short(result.attention_error), depthwise: short(result.depthwise_error),
    }));
    card.dataset.move = state.move;
    paint();
  };

  // ---- What the model says -------------------------------------------------------------------------
  const valid = (value) => {
    const move = obAmong(["shuffle", "shift"], value.move);
    return {
      move,
      times: move === "shift" ? obWhole(value.times, 0, width - 1) : obWhole(value.times, 1, SHUFFLES),
      positions: value.positions === true,
      filter_size: obAmong(sizes, value.filter_size),
      padding: obAmong(["circular", "zeros"], value.padding),
      spot: obWhole(value.spot, 0, height * width - 1),
    };
  };
  el.replaceChildren(card);
  const stop = obState(model, valid, show);
  return () => {
    cancelAnimationFrame(waiting);
    stop();
  };
}

export default { render };
