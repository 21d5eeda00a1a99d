// One pixel, one token: five views of a 1x1 convolution that share a pixel and an output channel.

/**
 * A 1x1 convolution in both notations.
 * x (C_in, H, W), weight (C_out, C_in), bias (C_out) or null, order: the pixel in each row.
 * Gives tokens (N, C_in), rows (N, C_out), image (C_out, H, W), and how far the two ways differ.
 */
export function compute({ x, weight, bias = null, order = null }) {
  const [height, width] = [x[0].length, x[0][0].length];
  const pixels = order ?? Array.from({ length: height * width }, (_, n) => n);
  const tokens = pixels.map((n) => x.map((plane) => plane[Math.floor(n / width)][n % width]));
  const rows = tokens.map((token) =>
    weight.map((w, o) => token.reduce((sum, value, c) => sum + value * w[c], 0) + (bias ? bias[o] : 0)),
  );
  // The window visits pixel after pixel and adds its channels from the last to the first: the same
  // sum in another order, which is why the two ways agree only up to rounding.
  const slide = (o, n) => {
    let sum = bias ? bias[o] : 0;
    for (let c = x.length - 1; c >= 0; c -= 1) sum += weight[o][c] * tokens[n][c];
    return sum;
  };
  const image = weight.map((_, o) =>
    Array.from({ length: height }, (_, i) => Array.from({ length: width }, (_, j) => slide(o, i * width + j))),
  );
  let difference = 0;
  rows.forEach((row, n) =>
    row.forEach((value, o) => {
      difference = Math.max(difference, Math.abs(value - image[o][Math.floor(n / width)][n % width]));
    }),
  );
  return { tokens, rows, image, difference };
}

/** A shuffled order, the same for the same seed (Fisher-Yates with a small generator). */
export function shuffled(count, seed) {
  const order = Array.from({ length: count }, (_, n) => n);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let last = count - 1; last > 0; last -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

// Sums of small numbers in another order differ by about 1e-15; the digits are the machine's.
const ROUNDING = 1e-9;

/** The code for the current state, in both notations. */
function code({ cIn, cOut, weight, height, width, row, channel, y, isShuffled }) {
  const matrix = weight.map((line) => `[${line.map((v) => v.toFixed(1)).join(", ")}]`);
  const shape = `(1, ${height * width}, ${cIn})`;
  const shuffle = isShuffled
    ? [
        `X = X[:, order]${" ".repeat(27)}# the shuffled rows`,
        `image = X.transpose(1, 2).reshape(1, ${cIn}, ${height}, ${width})`,
      ]
    : [];
  return [
    `conv = nn.Conv2d(${cIn}, ${cOut}, kernel_size=1, bias=False)`,
    `linear = nn.Linear(${cIn}, ${cOut}, bias=False)`,
    `linear.weight.data = torch.tensor([${matrix.join(`,\n${" ".repeat(35)}`)}])   # W transposed`,
    "conv.weight.data = linear.weight.data[:, :, None, None]",
    "",
    `X = image.flatten(2).transpose(1, 2)      # ${shape}`,
    ...shuffle,
    `conv(image)[0, ${channel}, ${Math.floor(row / width)}, ${row % width}]`.padEnd(42) + `# ${obText(y)}`,
    `linear(X)[0, ${row}, ${channel}]`.padEnd(42) + `# ${obText(y)}`,
  ].join("\n");
}

function render({ model, el }) {
  const image = model.get("image");
  const [height, width] = [image[0].length, image[0][0].length];
  const count = height * width;
  const { card, controls, body, readout, say } = obCard(model, "one_pixel");
  const flow = obMake("div", { className: "op-flow" });
  const formula = obMake("p", { className: "op-formula" });
  const listing = obCode();
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Point at a number to follow it. Click or tap to pin it, move on with the arrow keys. " +
      "The weights can be changed.",
  });
  // What is said about the selection stands beside the matrices where there is room.
  const words = obMake("div", { className: "op-words" }, formula, readout, listing.element);
  body.append(how, obMake("div", { className: "op-views" }, flow, words));

  let views = null;
  let result = null;
  let hover = null;
  let marked = [];
  let shuffles = 0;

  const used = () => {
    const { c_in: cIn, c_out: cOut } = model.get("value");
    const weight = model.get("weight").slice(0, cOut).map((row) => row.slice(0, cIn));
    return { cIn, cOut, weight, x: image.slice(0, cIn), order: model.get("order") };
  };
  const change = (entries) => obChange(model, valid({ ...model.get("value"), ...entries }));

  // ---- The selection -----------------------------------------------------------------------
  const selection = () => {
    const { pixel, channel } = model.get("value");
    return { pixel, channel, ...hover };
  };
  const mark = (element, name) => {
    element.classList.add(name);
    marked.push([element, name]);
  };
  const showSelection = () => {
    const { pixel, channel } = selection();
    const { cIn, cOut, weight, order } = used();
    const row = order.indexOf(pixel);
    const [i, j] = [Math.floor(row / width), row % width];
    // Before anything else changes: a browser settles the layout when a tab stop moves. One stop
    // for the image and one for the output, because the other channels show the same pixel.
    if (!hover) {
      views.planes[0].setStop([i, j]);
      views.outputs.forEach((view, o) => view.setStop(o === channel ? [i, j] : null));
      views.x.setStop([row, 0]);
      views.y.setStop([row, channel]);
    }
    for (const [element, name] of marked) element.classList.remove(name);
    marked = [];
    for (const { cells } of views.planes.slice(0, cIn)) mark(cells[i][j], "ob-selected");
    mark(views.x.table.tBodies[0].rows[row], "ob-row");
    mark(views.y.table.tBodies[0].rows[row], "ob-row");
    mark(views.y.cells[row][channel], "ob-selected");
    for (const line of views.w.cells.slice(0, cIn)) mark(line[channel], "op-column");
    mark(views.outputs[channel].cells[i][j], "ob-selected");
    card.dataset.pixel = pixel;
    card.dataset.channel = channel;

    const [token, w, y] = [result.tokens[row], weight[channel], result.rows[row][channel]];
    const terms = token.map((value, c) =>
      obMake("span", { className: "op-term" },
        c ? " + " : "",
        obMake("span", { className: "op-of-x", textContent: obText(value) }),
        " \u00b7 ",
        obMake("span", { className: "op-of-w", textContent: obBracket(w[c]) }),
      ),
    );
    formula.replaceChildren(
      obMake("span", { className: "op-name", textContent: `y = x \u00b7 w   ` }),
      obMake("span", { className: "op-term", textContent: `Y[${row}, ${channel}] = ` }), ...terms,
      obMake("span", { className: "op-term" }, " = ", obMake("strong", { textContent: obText(y) })),
    );
    const isShuffled = order.some((n, at) => n !== at);
    listing.set(code({ cIn, cOut, weight, height, width, row, channel, y, isShuffled }));
    const sum = token.map((value, c) => `${obText(value)} \u00b7 ${obBracket(w[c])}`).join(" + ");
    const place = `row ${Math.floor(pixel / width)}, column ${pixel % width}`;
    const moved = obSlide()
      ? `Shuffled: no value changed. Pixel ${pixel} is now row ${row} of X. `
      : `Shuffled: rows changed places, in X and Y alike, and no value changed. ` +
        `Pixel ${pixel} (once ${place}) is now row ${row} of X. `;
    say(
      (isShuffled ? moved : `Pixel ${pixel} (${place}) is row ${row} of X. `) +
        // On a slide the formula stands beside this in large letters.
        `Its output channel ${channel} is ${obSlide() ? "" : `${sum} = `}${obText(y)}. ` +
        `The sliding 1 \u00d7 1 window and the product X W ` +
        (result.difference < ROUNDING
          ? `give the same ${count * cOut} numbers, to rounding error.`
          : "differ by more than rounding error."),
    );
  };

  // ---- The numbers ---------------------------------------------------------------------------
  const showNumbers = () => {
    const { cIn, cOut, weight, x, order } = used();
    result = compute({ x, weight, order });
    const isShuffled = order.some((n, at) => n !== at);
    const limit = Math.max(...result.rows.flat().map(Math.abs));
    const brightest = Math.max(...x.flat(2).map(Math.abs));
    const put = (cell, value, signed) => {
      const end = signed ? limit : brightest;
      // Cells that stay as they are cost nothing, neither here nor in the layout.
      if (cell.obNumber === value && cell.obEnd === end) return;
      if (cell.obNumber !== value) cell.textContent = obText(value);
      [cell.obNumber, cell.obEnd] = [value, end];
      obShade(cell, value, end, signed);
    };
    order.forEach((pixel, row) => {
      const [i, j] = [Math.floor(row / width), row % width];
      for (let c = 0; c < cIn; c += 1) {
        put(views.planes[c].cells[i][j], result.tokens[row][c], false);
        put(views.x.cells[row][c], result.tokens[row][c], false);
      }
      for (let o = 0; o < cOut; o += 1) {
        put(views.y.cells[row][o], result.rows[row][o], true);
        put(views.outputs[o].cells[i][j], result.image[o][i][j], true);
      }
      // A row is counted as the formula counts it; a pixel that came from elsewhere says so.
      const from = isShuffled ? `${pixel} \u2192 ${row}` : String(row);
      if (views.x.headers[row].textContent !== from) views.x.headers[row].textContent = from;
    });
    const all = model.get("weight");
    views.w.inputs.forEach((line, c) =>
      line.forEach((input, o) => {
        // What the reader is typing is left alone, "-" and "0." included.
        if (document.activeElement !== input && Number(input.value || NaN) !== all[o][c]) input.value = all[o][c];
        input.placeholder = all[o][c];
      }),
    );
  };

  // ---- The views -----------------------------------------------------------------------------
  const pixelAt = (row) => model.get("order")[row];
  const link = (cell, read) => {
    cell.obSelect = read;
  };
  const weightTable = (cIn, cOut) => {
    const view = obTable({
      className: "op-w", head: Array.from({ length: cOut }, (_, o) => `out ${o}`), rowHead: true, rows: cIn, columns: cOut,
    });
    // Its inputs are reached with Tab, so this one is a plain table.
    view.table.setAttribute("role", "table");
    const inputs = view.cells.map((line, c) =>
      line.map((cell, o) => {
        const input = obFocusable(obMake("input", {
          type: "number", step: "0.1", min: "-99", max: "99", autocomplete: "off",
          "aria-label": `weight from input channel ${c} to output channel ${o}`,
        }));
        input.addEventListener("input", () => {
          const typed = Number(input.value);
          const wrong = input.value === "" || !Number.isFinite(typed) || Math.abs(typed) > 99;
          // Until there is a number the old one counts; it stands in the field, pale, and comes back.
          input.setAttribute("aria-invalid", String(wrong));
          if (wrong) return;
          const weight = model.get("weight").map((row) => [...row]);
          weight[o][c] = typed;
          model.set("weight", weight);
          model.save_changes();
        });
        input.addEventListener("blur", () => {
          input.value = model.get("weight")[o][c];
          input.removeAttribute("aria-invalid");
        });
        cell.removeAttribute("role");
        cell.removeAttribute("tabindex");
        delete cell.obPlace;
        cell.append(input);
        link(cell, () => ({ channel: o }));
        return input;
      }),
    );
    view.headers.forEach((header, c) => (header.textContent = `in ${c}`));
    return { ...view, inputs };
  };
  const plane = (name, index, read) => {
    const view = obTable({ className: "op-plane", rows: height, columns: width });
    view.cells.forEach((line, i) => line.forEach((cell, j) => link(cell, () => read(i * width + j))));
    view.fit(height, width, [`channel ${index}`], `${name}, channel ${index}, ${height} by ${width} pixels`);
    return view;
  };
  const rowTable = (className, columns, read) => {
    const head = Array.from({ length: columns }, (_, c) => String(c));
    const view = obTable({ className, head, rowHead: true, rows: count, columns });
    view.cells.forEach((line, row) => line.forEach((cell, c) => link(cell, () => read(row, c))));
    view.headers.forEach((header, row) => {
      header.textContent = row;
      link(header, () => ({ pixel: pixelAt(row) }));
    });
    return view;
  };
  const stage = (place, name, ...content) =>
    obMake("div", { className: `op-stage op-at-${place}` }, obMake("p", { className: "op-head", textContent: name }), ...content);
  const operator = (place, sign) =>
    obMake("span", { className: `op-operator op-at-${place}`, "aria-hidden": "true", textContent: sign });

  /** Everything is built once, for all channels; how many are used only hides the others. */
  const build = () => {
    const [cIn, cOut] = [image.length, model.get("weight").length];
    const range = (n) => Array.from({ length: n }, (_, at) => at);
    views = {
      planes: range(cIn).map((c) => plane("Image", c, (row) => ({ pixel: pixelAt(row) }))),
      x: rowTable("op-x", cIn, (row) => ({ pixel: pixelAt(row) })),
      w: weightTable(cIn, cOut),
      y: rowTable("op-y", cOut, (row, o) => ({ pixel: pixelAt(row), channel: o })),
      outputs: range(cOut).map((o) => plane("Output", o, (row) => ({ pixel: pixelAt(row), channel: o }))),
    };
    const planes = (list) => obMake("div", { className: "op-planes" }, ...list.map(({ table }) => table));
    flow.append(
      stage("image", "Image", planes(views.planes)),
      operator("a", "\u2192"), stage("x", "Tokens", views.x.table),
      operator("b", "\u00d7"), stage("w", "Weights", views.w.table),
      operator("c", "="), stage("y", "Outputs", views.y.table),
      obMake("div", { className: "op-result" },
        operator("d", "\u2192"), stage("output", "Output image", planes(views.outputs))),
    );
  };
  let shown = "";
  const fit = () => {
    const { cIn, cOut } = used();
    if (shown === `${cIn} ${cOut}`) return;
    shown = `${cIn} ${cOut}`;
    views.planes.forEach(({ table }, c) => obHide(table, c >= cIn));
    views.outputs.forEach(({ table }, o) => obHide(table, o >= cOut));
    flow.classList.toggle("op-many", cOut > 2);
    const name = (letter, className = "") => obMake("b", { className, textContent: letter });
    views.x.fit(count, cIn, [name("X"), ` ${count} \u00d7 ${cIn}`], `X, ${count} by ${cIn}: one row for each pixel`);
    views.w.fit(cIn, cOut, [name("W", "op-of-w"), ` ${cIn} \u00d7 ${cOut}`], `W, ${cIn} by ${cOut}: the weights, which can be edited`);
    views.y.fit(count, cOut, [name("Y"), ` ${count} \u00d7 ${cOut}`], `Y, ${count} by ${cOut}: one row for each pixel`);
    inputs.set(image.map((_, n) => String(n + 1)), cIn - 1);
    outputs.set(model.get("weight").map((_, n) => String(n + 1)), cOut - 1);
    showNumbers();
  };

  // ---- Hover looks, focus and tap choose -------------------------------------------------------
  const target = (event) => event.target.closest?.("td, th")?.obSelect?.();
  flow.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const at = target(event) ?? null;
    if (JSON.stringify(at) === JSON.stringify(hover)) return;
    hover = at;
    showSelection();
  });
  flow.addEventListener("pointerleave", () => {
    if (!hover) return;
    hover = null;
    showSelection();
  });
  const choose = (event) => {
    const at = target(event);
    if (!at) return;
    hover = null;
    change(at);
  };
  // After focus() has returned: it settles the layout, which is cheap only before anything changes.
  flow.addEventListener("focusin", (event) => queueMicrotask(() => choose(event)));
  flow.addEventListener("click", choose);

  const inputs = obSlider({ name: "c_in", label: "channels C_in", onChange: (at) => change({ c_in: at + 1 }) });
  const outputs = obSlider({ name: "c_out", label: "channels C_out", onChange: (at) => change({ c_out: at + 1 }) });
  const shuffle = obButton("Shuffle pixels", "", () => {
    shuffles += 1;
    model.set("order", shuffled(count, shuffles));
    model.save_changes();
  }, "ob-button op-shuffle");
  const reset = obButton("Reset", "", () => {
    shuffles = 0;
    hover = null;
    model.set("order", Array.from({ length: count }, (_, n) => n));
    model.set("weight", model.get("start_weight").map((row) => [...row]));
    model.set("value", { ...model.get("start") });
    model.save_changes();
  }, "ob-button ob-reset");
  controls.append(inputs.element, outputs.element, shuffle, reset);

  // ---- What the model says ---------------------------------------------------------------------
  const valid = (value) => {
    const c_out = obWhole(value.c_out, 1, model.get("weight").length);
    return {
      c_in: obWhole(value.c_in, 1, image.length), c_out,
      pixel: obWhole(value.pixel, 0, count - 1), channel: obWhole(value.channel, 0, c_out - 1),
    };
  };
  const show = () => {
    fit();
    showSelection();
  };
  const numbersChanged = () => {
    showNumbers();
    showSelection();
  };
  build();
  const stop = obState(model, valid, show, { weight: numbersChanged, order: numbersChanged });
  el.replaceChildren(card);
  return stop;
}

export default { render };
