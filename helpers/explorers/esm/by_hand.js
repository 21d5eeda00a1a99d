// Do one output by hand: the middle pixel of three, by a depthwise + pointwise convolution and by
// attention, number after number. The rows from "weight times pixel" on are the same in both.

/**
 * Everything that stands in the two worksheets, for the middle one of three pixels.
 * x (3, 2): three pixels with two channels; filter (2, 3): a filter for each channel; weight (2, 2):
 * the channel mixing W. Attention has one head, its queries, keys and values are the pixels.
 * Gives scores, exps, total, weights (3); and for "depthwise" and "attention": _products (2, 3),
 * _sums (2), _out (2).
 */
export function compute({ x, filter, weight }) {
  const query = x[1];
  const scores = x.map((pixel) => pixel.reduce((sum, v, c) => sum + v * query[c], 0) / Math.SQRT2);
  const exps = scores.map(Math.exp);
  const total = exps.reduce((sum, v) => sum + v, 0);
  const weights = exps.map((v) => v / total);
  const result = { scores, exps, total, weights };
  for (const [name, rows] of [["depthwise", filter], ["attention", [weights, weights]]]) {
    // The loop is the same for both: weight times pixel, sum, channel mixing.
    const products = rows.map((row, c) => row.map((a, j) => a * x[j][c]));
    const sums = products.map((row) => row.reduce((sum, v) => sum + v, 0));
    result[`${name}_products`] = products;
    result[`${name}_sums`] = sums;
    result[`${name}_out`] = weight[0].map((_, o) => sums.reduce((sum, v, c) => sum + v * weight[c][o], 0));
  }
  return result;
}

/** Small numbers for a worksheet, the same for the same seed. */
export function rolled(seed) {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const pick = (list) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return list[Math.floor((state / 2 ** 32) * list.length)];
  };
  const table = (rows, columns, list) =>
    Array.from({ length: rows }, () => Array.from({ length: columns }, () => pick(list)));
  const x = table(3, 2, [-1, 0, 1, 2]);
  // A query of zeros gives all pixels the same weight: that is no lesson.
  if (!x[1][0] && !x[1][1]) x[1] = [1, 0];
  return { x, filter: table(2, 3, [-1, -0.5, 0.5, 1, 2]), weight: table(2, 2, [-1, 0.5, 1, 2]) };
}

/** Read a number as people write it: 1.5, 1,5, \u22121.5, .5; null where there is none. */
export function readNumber(text) {
  const plain = text.trim().replace(/\u2212|\u2013/g, "-").replace(",", ".");
  return /^[-+]?(\d+\.?\d*|\.\d+)$/.test(plain) ? Number(plain) : null;
}

const SHEETS = ["depthwise", "attention"];
const NAMES = { depthwise: "Depthwise, then pointwise", attention: "Attention" };
const ROWS = ["score", "e^score", "weight, ch 0", "weight, ch 1", "weight \u00d7 ch 0", "weight \u00d7 ch 1", "sums \u00d7 W, out 0"];
const [SCORE, EXP, WEIGHT, , PRODUCT, SECOND, OUT] = ROWS.keys();
const HOW_MANY = { depthwise: 6, attention: 16 };

/**
 * The lines of a worksheet in the order in which they are done. Each has its place (row, column), its
 * value, its formula in numbers, what it uses, the line of code it stands for, and the usual slips.
 */
export function linesOf(sheet, { x, filter, weight }, result) {
  const lines = [];
  const add = (row, column, value, name, formula, uses, code, slips = []) =>
    lines.push({ row, column, value, name, formula, uses, code, slips });
  const range = [0, 1, 2];
  const weights = sheet === "depthwise" ? filter : [result.weights, result.weights];
  if (sheet === "attention") {
    for (const j of range) {
      const dot = x[j][0] * x[1][0] + x[j][1] * x[1][1];
      add(SCORE, j, result.scores[j], `score of pixel ${j}`,
        `(${obText(x[1][0])} \u00b7 ${obBracket(x[j][0])} + ${obBracket(x[1][1])} \u00b7 ${obBracket(x[j][1])}) / \u221a2`,
        [["x", 1, 0], ["x", 1, 1], ["x", j, 0], ["x", j, 1]], 1,
        [[dot, "That is the product of query and key. Divide it by \u221a2, about 1.41."],
          [dot / 2, "Divide by \u221ad, not by d: d is 2, and \u221a2 is about 1.41."]]);
    }
    for (const j of range) {
      const score = result.scores[j];
      add(EXP, j, result.exps[j], `e to the score of pixel ${j}`, `exp(${obText(score)})`, [["sheet", SCORE, j]], 2,
        [[score, "That is the score itself. Take e to its power: exp on a calculator."],
          [1 / result.exps[j], "The sign of the score is lost."],
          [10 ** score, "That is 10 to the power: take e, 2.718\u2026"]]);
    }
    add(EXP, 3, result.total, "sum of the three", result.exps.map((v) => obText(v)).join(" + "),
      range.map((j) => ["sheet", EXP, j]), 3);
    for (const j of range) {
      add(WEIGHT, j, result.weights[j], `weight of pixel ${j}`, `${obText(result.exps[j])} / ${obText(result.total)}`,
        [["sheet", EXP, j], ["sheet", EXP, 3]], 4,
        [[result.exps[j], "Divide it by the sum of the three: the weights of a softmax sum to 1."],
          [result.exps[j] / 3, "Divide by the sum of the three numbers, not by three."]]);
    }
  }
  const products = result[`${sheet}_products`];
  const sums = result[`${sheet}_sums`];
  for (const j of range) {
    const [a, v] = [weights[0][j], x[j][0]];
    add(PRODUCT, j, products[0][j], `pixel ${j}, channel 0`, `${obText(a)} \u00b7 ${obBracket(v)}`,
      [sheet === "depthwise" ? ["filter", 0, j] : ["sheet", WEIGHT, j], ["x", j, 0]], -3,
      [[a + v, "That is the sum. Here weight and pixel are multiplied."],
        [a * x[j][1], "That is channel 1 of the pixel. This row is channel 0."]]);
  }
  add(PRODUCT, 3, sums[0], "sum, channel 0", products[0].map((v, j) => (j ? obBracket(v) : obText(v))).join(" + "),
    range.map((j) => ["sheet", PRODUCT, j]), -2,
    [[sums[0] / 3, "That is their mean. The weights are in already: add, and do not divide."]]);
  add(SECOND, 3, sums[1], "sum, channel 1",
    range.map((j) => `${j ? obBracket(weights[1][j]) : obText(weights[1][j])} \u00b7 ${obBracket(x[j][1])}`).join(" + "),
    range.flatMap((j) => [sheet === "depthwise" ? ["filter", 1, j] : ["sheet", WEIGHT, j], ["x", j, 1]]), -2,
    [[weights[0].reduce((sum, a, j) => sum + a * x[j][0], 0), "That is channel 0 again."],
      [filter[0].reduce((sum, a, j) => sum + a * x[j][1], 0), "That is channel 1 with the filter of channel 0: each channel has its own."]]);
  const out = result[`${sheet}_out`][0];
  add(OUT, 3, out, "output channel 0",
    `${obText(sums[0])} \u00b7 ${obBracket(weight[0][0])} + ${obBracket(sums[1])} \u00b7 ${obBracket(weight[1][0])}`,
    [["sheet", PRODUCT, 3], ["sheet", SECOND, 3], ["weight", 0, 0], ["weight", 1, 0]], -1,
    [[result[`${sheet}_out`][1], "That is output channel 1. Output channel 0 takes column 0 of W."],
      [sums[0] * weight[0][0] + sums[1] * weight[0][1], "That is a row of W. An output channel takes a column."]]);
  return lines;
}

/** Whether a typed number counts as right: two decimals, and a little for rounding on the way. */
export function close(typed, value) {
  return Math.abs(typed - value) <= 0.02 + 0.01 * Math.abs(value);
}

/** What is wrong with a typed number, in a sentence. */
export function verdict(typed, { value, slips }) {
  const known = slips.find(([slip]) => close(typed, slip) && !close(slip, value));
  if (known) return known[1];
  if (value !== 0 && close(-typed, value)) return "The size is right, the sign is not.";
  return typed > value ? "Too large." : "Too small.";
}

/** The code of a worksheet, with a mark at the line that is being done. */
function code(sheet, { x, filter, weight }, result, line) {
  const list = (rows) => `[${rows.map((row) => `[${row.join(", ")}]`).join(", ")}]`;
  const numbers = (values) => values.map((v) => obText(v)).join(", ");
  const note = (text, says) => `${text.padEnd(41)} # ${says}`;
  const [sums, out] = [result[`${sheet}_sums`], result[`${sheet}_out`]];
  const weights = sheet === "depthwise"
    ? [note(`A = tensor(${list(filter)})`, "the filter: a row for each channel")]
    : [
        note("s = X @ X[1] / math.sqrt(2)", `scores, Q K\u1d40 / \u221ad: ${numbers(result.scores)}`),
        note("e = s.exp()", numbers(result.exps)),
        note("t = e.sum()", numbers([result.total])),
        note("A = (e / t).expand(2, 3)", "softmax: one row for both channels"),
      ];
  const texts = [
    note(`X = tensor(${list(x)})`, "3 pixels, 2 channels"),
    ...weights,
    note("p = A * X.T", "weight times pixel"),
    note("y = p.sum(1)", `the weighted sum: ${numbers(sums)}`),
    note(`z = y @ tensor(${list(weight)})`, `channel mixing, y W: ${numbers(out)}`),
  ];
  const at = line < 0 ? texts.length + line : line;
  const layer = sheet === "depthwise"
    ? "F.conv1d(X.T[None], A[:, None], padding=1, groups=2)[0, :, 1]"
    : "F.scaled_dot_product_attention(X[1:2], X, X)[0]";
  return [...texts.map((text, n) => `${n === at ? "\u25b6" : " "} ${text}`), `  ${layer}   # y again`].join("\n");
}

function render({ model, el }) {
  const { card, controls, body, say, readout } = obCard(model, "by_hand");
  const listing = obCode();
  const state = () => {
    const numbers = { x: model.get("x"), filter: model.get("filter"), weight: model.get("weight") };
    return { ...model.get("value"), numbers };
  };
  const change = (entries) => obChange(model, entries);
  let lines = {};
  let result = null;
  let rolls = 0;
  // Cells that the reader has typed right keep a mark until the numbers change.
  let typed = new Set();

  // ---- The given numbers ---------------------------------------------------------------------------
  const given = {};
  const numberTable = (key, title, rows, columns) => {
    const shape = [rows.length, columns.length];
    const head = obMake("tr", {}, obMake("td", { className: "ob-corner" }), ...columns.map((text) => obMake("th", { scope: "col", textContent: text })));
    const cells = rows.map(() => []);
    const inputs = rows.map(() => []);
    const bodyRows = rows.map((text, r) =>
      obMake("tr", {}, obMake("th", { scope: "row", textContent: text }),
        ...columns.map((column, c) => {
          const input = obFocusable(obMake("input", {
            type: "number", step: "0.5", min: "-9", max: "9", autocomplete: "off",
            "aria-label": `${title}: ${text}, ${column}`,
          }));
          input.addEventListener("input", () => {
            const number = Number(input.value);
            const wrong = input.value === "" || !Number.isFinite(number) || Math.abs(number) > 9;
            // Until there is a number from -9 to 9 the old one counts.
            input.setAttribute("aria-invalid", String(wrong));
            if (wrong) return;
            const table = model.get(key).map((row) => [...row]);
            table[r][c] = number;
            typed = new Set();
            model.set(key, table);
            model.save_changes();
          });
          input.addEventListener("blur", () => {
            input.value = model.get(key)[r][c];
            input.removeAttribute("aria-invalid");
          });
          inputs[r].push(input);
          cells[r].push(obMake("td", {}, input));
          return cells[r][c];
        }),
      ),
    );
    const caption = obMake("caption", {}, obMake("b", { textContent: title }));
    given[key] = { cells, inputs, shape };
    return obMake("table", { className: `ob-table bh-given bh-${key}` }, caption, obMake("thead", {}, head), obMake("tbody", {}, ...bodyRows));
  };
  const pixels = ["pixel 0", "pixel 1", "pixel 2"];
  const tables = obMake("div", { className: "bh-numbers" },
    numberTable("x", "X, the pixels", pixels, ["ch 0", "ch 1"]),
    numberTable("filter", "filter", ["ch 0", "ch 1"], pixels),
    numberTable("weight", "W", ["ch 0", "ch 1"], ["out 0", "out 1"]),
  );

  // ---- The worksheets ------------------------------------------------------------------------------
  const sheets = {};
  const worksheet = (sheet) => {
    const head = obMake("tr", {}, obMake("td", { className: "ob-corner" }),
      ...["pixel 0", "pixel 1", "pixel 2", "sum"].map((text) => obMake("th", { scope: "col", textContent: text })));
    const cells = [];
    const bodyRows = ROWS.map((text, r) => {
      const unused = sheet === "depthwise" && r < WEIGHT;
      const row = obMake("tr", { className: `${r >= PRODUCT ? "bh-same" : "bh-chosen"}${r === OUT ? " bh-mixed" : ""}` }, obMake("th", { scope: "row", textContent: unused ? "" : text }));
      cells.push([]);
      if (unused) {
        const says = r === SCORE ? "nothing to compute:" : "the filter is a parameter";
        row.append(obMake("td", { colSpan: 4, className: "bh-none", textContent: says }));
        return row;
      }
      for (let c = 0; c < 4; c += 1) {
        const cell = obMake("td");
        cell.addEventListener("click", () => {
          const at = lines[sheet].findIndex((line) => line.row === r && line.column === c);
          if (at >= 0) change({ sheet, line: at });
        });
        cells[r].push(cell);
        row.append(cell);
      }
      return row;
    });
    const caption = obMake("caption", {}, obMake("b", { textContent: NAMES[sheet] }));
    const table = obMake("table", { className: `ob-table bh-sheet bh-${sheet}` }, caption, obMake("thead", {}, head), obMake("tbody", {}, ...bodyRows));
    sheets[sheet] = { table, cells };
    return table;
  };
  const both = obMake("div", { className: "bh-sheets" }, ...SHEETS.map(worksheet));

  // ---- The line that is being done -----------------------------------------------------------------
  const answerId = obId("answer");
  const question = obMake("label", { className: "bh-question", for: answerId });
  const answer = obFocusable(obMake("input", { type: "text", id: answerId, inputMode: "decimal", autocomplete: "off", className: "bh-answer" }));
  const feedback = obMake("p", { className: "bh-feedback", role: "status" });
  const tell = (text, right) => {
    feedback.textContent = text;
    feedback.classList.toggle("bh-right", right === true);
    feedback.classList.toggle("bh-wrong", right === false);
  };
  const last = (sheet) => lines[sheet].length;
  const step = (by, keep = false) => {
    const { sheet, line } = state();
    const to = line + by;
    if (to > last(sheet)) {
      // Past the end of one worksheet the other begins.
      if (sheet === "depthwise") change({ sheet: "attention", line: 0 });
    } else if (to >= 0) change({ line: to });
    else if (sheet === "attention") change({ sheet: "depthwise", line: last("depthwise") });
    if (!keep) tell("");
    answer.value = "";
  };
  const show = () => {
    const { sheet, line } = state();
    const here = lines[sheet][line];
    step(1);
    if (here) tell(`${here.name}: ${here.formula} = ${obText(here.value)}.`);
  };
  const check = () => {
    const { sheet, line } = state();
    const here = lines[sheet][line];
    if (!here) return show();
    const number = readNumber(answer.value);
    if (number === null) {
      tell(answer.value.trim() ? "That is no number: type one like 1.5 or \u22120.25." : "Type the number first, or press Next to be shown it.", false);
    } else if (close(number, here.value)) {
      typed.add(`${sheet} ${here.row} ${here.column}`);
      step(1, true);
      tell(`\u2713 Right: ${here.formula} = ${obText(here.value)}.`, true);
      draw();
    } else {
      tell(`\u2717 ${obText(number)} is not it. ${verdict(number, here)}`, false);
      answer.select();
    }
  };
  answer.addEventListener("keydown", (event) => {
    if (event.key === "Enter") check();
    else if (event.key === " ") show();
    else return;
    event.preventDefault();
  });
  const back = obButton("Back", "", () => step(-1));
  const next = obButton("Next: show it", "", show, "ob-button bh-next");
  const checkButton = obButton("Check", "", check);
  const doing = obMake("div", { className: "bh-doing" }, question, answer, checkButton, next, back);
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Type the next number to two decimals and press Enter, or press Space to be shown it. All given numbers can be changed.",
  });
  body.append(how, obMake("div", { className: "bh-views" }, tables, both), doing, feedback);
  card.append(listing.element);

  const sheetRadios = obRadios({
    name: "sheet", label: "worksheet", onChange: (at) => {
      tell("");
      change({ sheet: SHEETS[at], line: 0 });
    },
  });
  const all = obButton("Show all", "", () => {
    tell("");
    change({ line: last(state().sheet) });
  });
  const again = obButton("New numbers", "", () => {
    rolls += 1;
    typed = new Set();
    for (const [key, table] of Object.entries(rolled(rolls))) model.set(key, table);
    tell("");
    change({ line: 0 });
  });
  const reset = obButton("Reset", "", () => {
    [rolls, typed] = [0, new Set()];
    for (const key of ["x", "filter", "weight"]) model.set(key, model.get(`start_${key}`).map((row) => [...row]));
    tell("");
    answer.value = "";
    change({ ...model.get("start") });
  }, "ob-button ob-reset");
  controls.append(sheetRadios.element, all, again, reset);

  // ---- Drawing ---------------------------------------------------------------------------------------
  const set = (cell, text) => {
    if (cell.textContent !== text) cell.textContent = text;
  };
  const draw = () => {
    const { sheet, line, numbers } = state();
    for (const cell of card.querySelectorAll(".bh-uses, .bh-now")) cell.classList.remove("bh-uses", "bh-now");
    for (const name of SHEETS) {
      const { cells } = sheets[name];
      // The other worksheet is as far as it was: depthwise done, or attention not begun.
      const done = name === sheet ? line : name === "depthwise" ? last(name) : 0;
      const texts = new Map();
      lines[name].forEach(({ row, column, value }, at) => {
        if (at < done) texts.set(`${row} ${column}`, obText(value));
        else if (at === line && name === sheet) texts.set(`${row} ${column}`, "?");
      });
      const derived = (row, column, value, ready) => ready && texts.set(`${row} ${column}`, obText(value));
      const [weighted, second, final] = [WEIGHT, SECOND, OUT].map((row) =>
        lines[name].findLastIndex((one) => one.row === row) < done);
      for (const j of [0, 1, 2]) {
        if (name === "depthwise") {
          derived(WEIGHT, j, numbers.filter[0][j], true);
          derived(WEIGHT + 1, j, numbers.filter[1][j], true);
        } else derived(WEIGHT + 1, j, result.weights[j], weighted);
        derived(SECOND, j, result[`${name}_products`][1][j], second);
      }
      [0, 1].forEach((c) => derived(OUT, c, result[`${name}_sums`][c] * numbers.weight[c][0], final));
      cells.forEach((row, r) => row.forEach((cell, c) => {
        const text = texts.get(`${r} ${c}`) ?? "";
        set(cell, text);
        cell.classList.toggle("bh-typed", typed.has(`${name} ${r} ${c}`) && text !== "" && text !== "?");
      }));
      sheets[name].table.classList.toggle("bh-current", name === sheet);
    }
    for (const [key, { inputs }] of Object.entries(given)) {
      inputs.forEach((row, r) => row.forEach((input, c) => {
        if (document.activeElement !== input && Number(input.value || NaN) !== numbers[key][r][c]) input.value = numbers[key][r][c];
      }));
    }
    const here = lines[sheet][line];
    if (here) {
      sheets[sheet].cells[here.row][here.column].classList.add("bh-now");
      for (const [where, r, c] of here.uses) {
        const cell = where === "sheet" ? sheets[sheet].cells[r][c] : given[where].cells[r][c];
        cell.classList.add("bh-uses");
        // The filter stands in the worksheet as well.
        if (where === "filter") sheets[sheet].cells[WEIGHT + r][c].classList.add("bh-uses");
      }
      set(question, `${here.name} = ${here.formula} =`);
    } else set(question, `Output channel 0 is ${obText(result[`${sheet}_out`][0])}. Done.`);
    answer.hidden = !here;
    checkButton.hidden = !here;
    next.textContent = here ? "Next: show it" : "Next: attention";
    next.setAttribute("aria-disabled", String(!here && sheet === "attention"));
    back.setAttribute("aria-disabled", String(line === 0 && sheet === "depthwise"));
    sheetRadios.set(["depthwise", "attention"], SHEETS.indexOf(sheet));
    listing.set(code(sheet, numbers, result, here ? here.code : 99));
    card.dataset.line = line;
    card.dataset.sheet = sheet;
    say(sentence(sheet, line));
  };
  const sentence = (sheet, line) => {
    const three = (row) => row.map((v) => obText(v)).join(", ");
    const end = last(sheet);
    const where = line < end ? `Line ${line + 1} of ${end}. ` : "";
    if (sheet === "depthwise" && line < end) {
      return `${where}Depthwise: the weights are the filter, ${three(state().numbers.filter[0])} for channel 0. ` +
        "Nothing in the image chose them. From the row \u201cweight \u00d7 ch 0\u201d on, both worksheets do the same.";
    }
    if (sheet === "depthwise") {
      return `Depthwise then pointwise gives ${three(result.depthwise_out)}. Now the same pixels by attention: ` +
        "first it has to find its weights.";
    }
    if (line < 10) {
      return `${where}Attention: the weights come from the pixels, through score, exp and softmax. ` +
        "Depthwise had them ready.";
    }
    return `${where}Attention's weights are ${three(result.weights)}, for both channels; the filter's are ` +
      `${three(state().numbers.filter[0])} for channel 0. The weighted sum is the same loop; only where the weights come from differs.`;
  };

  // ---- What the model says -------------------------------------------------------------------------
  const count = () => {
    const { numbers } = state();
    result = compute(numbers);
    lines = Object.fromEntries(SHEETS.map((sheet) => [sheet, linesOf(sheet, numbers, result)]));
  };
  const numbersChanged = () => {
    count();
    draw();
  };
  const valid = (value) => {
    const sheet = obAmong(SHEETS, value.sheet);
    return { sheet, line: obWhole(value.line, 0, HOW_MANY[sheet]) };
  };
  count();
  const stop = obState(model, valid, draw, { x: numbersChanged, filter: numbersChanged, weight: numbersChanged });
  el.replaceChildren(card);
  return stop;
}

export default { render };
