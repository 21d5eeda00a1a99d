// Can a head find an edge? Three scores, a softmax and a scale, against a kernel of three weights.

/** Largest share of the target's energy that one head of one sign reaches, with the skip or without. */
function ehLimit(target, skip) {
  const energy = target.reduce((sum, t) => sum + t * t, 0);
  const rest = target.map((t, at) => t - (skip && at === 1 ? 1 : 0));
  const part = (sign) => rest.reduce((sum, r) => sum + Math.max(0, sign * r) ** 2, 0);
  return 1 - Math.min(part(1), part(-1)) / energy;
}

/** The least-squares scales of one head or two; where two heads are the same, they share. */
function ehScales(weights, rest) {
  const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
  const aa = dot(weights[0], weights[0]);
  const ar = dot(weights[0], rest);
  if (weights.length === 1) return [ar / aa];
  const [ab, bb, br] = [dot(weights[0], weights[1]), dot(weights[1], weights[1]), dot(weights[1], rest)];
  const determinant = aa * bb - ab * ab;
  if (determinant < 1e-9) return [ar / aa / 2, ar / aa / 2];
  return [(bb * ar - ab * br) / determinant, (aa * br - ab * ar) / determinant];
}

/**
 * What heads make of a kernel and of a signal.
 * target (3), scores (H x 3), skip, signal (T). Gives weights (H x 3), scales (H), kernel (3),
 * captured and limit (shares of the target's energy), wanted and response (T - 2).
 */
export function compute({ target, scores, skip, signal }) {
  const weights = scores.map((line) => {
    const most = Math.max(...line);
    const parts = line.map((score) => Math.exp(score - most));
    const sum = parts.reduce((total, part) => total + part, 0);
    return parts.map((part) => part / sum);
  });
  const own = [0, skip ? 1 : 0, 0];
  const scales = ehScales(weights, target.map((t, at) => t - own[at]));
  const kernel = own.map((value, at) => weights.reduce((sum, line, h) => sum + scales[h] * line[at], value));
  const energy = target.reduce((sum, t) => sum + t * t, 0);
  const missing = target.reduce((sum, t, at) => sum + (t - kernel[at]) ** 2, 0);
  const apply = (taps) => signal.slice(2).map((_, n) => taps[0] * signal[n] + taps[1] * signal[n + 1] + taps[2] * signal[n + 2]);
  return {
    weights, scales, kernel, captured: 1 - missing / energy,
    limit: weights.length > 1 ? 1 : ehLimit(target, skip), wanted: apply(target), response: apply(kernel),
  };
}

const EH_PLACES = ["left", "centre", "right"];
const EH_MOST = 6;
const EH_STEP = 0.25;
const EH_STEPS = Array.from({ length: 2 * (EH_MOST / EH_STEP) + 1 }, (_, at) => EH_STEP * at - EH_MOST);
const EH_NAMES = {
  edge: "edge", laplacian: "Laplacian", difference: "difference", sharpen: "sharpen", blur: "blur",
};

/** The scores on the grid that come nearest to one head's best, for a rest of one sign. */
export function bestScores(part) {
  const most = Math.max(...part);
  if (most <= 0) return [0, 0, 0];
  return part.map((value) => {
    const score = value > 0 ? EH_MOST / 2 + Math.log(value / most) : -EH_MOST;
    return Math.max(-EH_MOST, Math.min(EH_MOST, Math.round(score / EH_STEP) * EH_STEP));
  });
}

const ehShare = (value) => `${(100 * value).toFixed(1)} %`.replace("-", "\u2212");

/** What so many heads can be at best, in words. */
function ehMost({ two_heads: two, skip }, target, limit) {
  if (two) return "Two heads of opposite sign can be any kernel exactly.";
  if (limit < 1 - 1e-9) {
    return `At best one head${skip ? " and the skip reach" : " reaches"} ${ehShare(limit)}: a head adds weights of one sign only.`;
  }
  if (skip) return "One head and the skip come as near to it as you like: a softmax gives 0 only in the limit.";
  return "One head can be this kernel exactly: all its weights have one sign.";
}

/** The code for the current state; `signal` is what the figure shows. */
export function code(value, target, { weights, scales, kernel, captured }) {
  const list = (numbers) => `[${numbers.map((n) => ehNumber(n)).join(", ")}]`;
  const ehNumber = (n) => (Number.isInteger(n) ? `${n + 0}.0` : String(Number(n.toFixed(2))));
  const says = (text, what) => `${text.padEnd(54)}# ${what}`;
  const lines = weights.map((line, h) => {
    const scores = EH_PLACES.map((place) => value[`${place}_${h + 1}`]);
    return says(`a${h + 1} = torch.tensor(${list(scores)}).softmax(0)`, list(line));
  });
  const terms = scales.map((scale, h) => `${scale < 0 ? "-" : h ? "+" : ""} ${Math.abs(scale).toFixed(4)} * a${h + 1}`);
  if (value.skip) lines.push("skip = torch.tensor([0.0, 1.0, 0.0])");
  const all = `${value.skip ? "skip " : ""}${value.skip && scales[0] >= 0 ? "+ " : ""}${terms.join(" ")}`;
  return [
    `target = torch.tensor(${list(target)})`,
    ...lines,
    says(`kernel = ${all.trim().replace(/\s+/g, " ")}`, list(kernel)),
    "missing = (target - kernel).square().sum()",
    says("1 - missing / target.square().sum()", captured.toFixed(3)),
    "F.conv1d(signal[None, None], kernel[None, None])",
  ].join("\n");
}

function render({ model, el }) {
  const { card, controls, body, readout, say } = obCard(model, "edge_head");
  const targets = model.get("targets");
  const signals = model.get("signals");
  const names = Object.keys(targets);
  const set = (entries) => obChange(model, entries);

  // ---- The kernels: a row each, with what it sums to ------------------------------------------------
  const rows = ["target", "head 1", "times its scale", "head 2", "times its scale", "skip", "together", "missing"];
  const view = obTable({
    className: "eh-kernels", head: ["left", "centre", "right", "sum", "energy"], rowHead: true, rows: rows.length, columns: 5,
  });
  // Its numbers only say what the sliders do: a plain table, without a stop of its own.
  view.table.setAttribute("role", "table");
  for (const cell of view.cells.flat()) {
    cell.removeAttribute("role");
    cell.removeAttribute("tabindex");
    delete cell.obPlace;
  }
  view.fit(rows.length, 5, [obMake("b", { textContent: "Kernels" }), ": what each of three tokens counts"], "Kernels: what each of three tokens counts");
  const line = (at, name, numbers, hidden = false) => {
    obHide(view.cells[at][0].parentElement, hidden);
    if (hidden) return;
    if (view.headers[at].textContent !== name) view.headers[at].textContent = name;
    const sum = numbers.reduce((total, value) => total + value, 0);
    const energy = numbers.reduce((total, value) => total + value * value, 0);
    [...numbers, sum, energy].forEach((value, c) => {
      const cell = view.cells[at][c];
      const text = obText(value);
      if (cell.textContent !== text) cell.textContent = text;
      if (c < 3) obShade(cell, value, 2, true);
    });
  };

  // ---- The signal and the two responses ---------------------------------------------------------------
  const chart = (className) => obSvg(`<svg class="eh-chart ${className}" preserveAspectRatio="none" aria-hidden="true"></svg>`);
  const [input, output] = [chart("eh-input"), chart("eh-output")];
  const wave = obMake("figure", { className: "eh-waves", role: "img" },
    obMake("figcaption", {}, obMake("b", { textContent: "Signal" }), ": lightness along a line"), input,
    obMake("p", { className: "eh-legend", "aria-hidden": "true" },
      obMake("b", { textContent: "Response" }), ": ",
      obMake("span", { className: "eh-key eh-wanted" }), "of the target ",
      obMake("span", { className: "eh-key eh-given" }), "of what you built",
    ), output,
  );
  /** A line in steps, one for each token, as the path of an SVG whose height is from -limit to limit. */
  const path = (values, from) => values.map((value, at) => `${at ? "L" : "M"}${from + at} ${-value}L${from + at + 1} ${-value}`).join("");
  const draw = (result, signal) => {
    const limit = Math.max(...result.wanted.map(Math.abs), ...result.response.map(Math.abs), 0.05) * 1.08;
    const size = signal.length;
    input.setAttribute("viewBox", `0 -1.05 ${size} 1.1`);
    input.innerHTML = `<path class="eh-zero" d="M0 0H${size}"/><path class="eh-signal" d="${path(signal, 0)}"/>`;
    output.setAttribute("viewBox", `0 ${-limit} ${size} ${2 * limit}`);
    output.innerHTML = `<path class="eh-zero" d="M0 0H${size}"/><path class="eh-wanted" d="${path(result.wanted, 1)}"/>` +
      `<path class="eh-given" d="${path(result.response, 1)}"/>`;
  };

  // ---- The meter: what is reached, and the most that can be ----------------------------------------------
  const reached = obMake("i", { className: "eh-reached" });
  const bound = obMake("i", { className: "eh-bound" });
  const percent = obMake("b", { className: "eh-percent" });
  const most = obMake("span", { className: "eh-most" });
  const meter = obMake("div", { className: "eh-meter" },
    obMake("p", {}, "Energy of the target captured: ", percent, most),
    obMake("div", { className: "eh-bar", "aria-hidden": "true" }, reached, bound),
  );

  // ---- Controls ---------------------------------------------------------------------------------------------
  const sliders = [1, 2].map((head) => EH_PLACES.map((place) => obSlider({
    name: `${place}_${head}`, label: `${place}`, onChange: (at) => set({ [`${place}_${head}`]: EH_STEPS[at] }),
  })));
  const boxes = sliders.map((list, h) => obMake("fieldset", { className: "eh-scores" },
    obMake("legend", { textContent: `Head ${h + 1}: scores${obSlide() ? "" : " before the softmax"}` }), ...list.map(({ element }) => element)));
  sliders.forEach((list, h) => list.forEach(({ element }, at) => element.querySelector("input").setAttribute("aria-label", `head ${h + 1}, score of the ${EH_PLACES[at]} token`)));
  const kernel = obRadios({ name: "kernel", label: "target", onChange: (at) => set({ kernel: names[at] }) });
  const heads = obRadios({ name: "two_heads", label: "heads", onChange: (at) => set({ two_heads: at === 1 }) });
  const skip = obRadios({ name: "skip", label: "skip", onChange: (at) => set({ skip: at === 1 }) });
  const signalChoice = obRadios({ name: "signal", label: "signal", onChange: (at) => set({ signal: Object.keys(signals)[at] }) });
  const best = obButton("Best scores", "", () => {
    const value = model.get("value");
    const rest = targets[value.kernel].map((t, at) => t - (value.skip && at === 1 ? 1 : 0));
    const parts = [1, -1].map((sign) => rest.map((r) => Math.max(0, sign * r)));
    const energy = parts.map((part) => part.reduce((sum, r) => sum + r * r, 0));
    if (energy[0] < energy[1]) parts.reverse();
    const scores = parts.map(bestScores);
    const entries = {};
    scores.slice(0, value.two_heads ? 2 : 1).forEach((list, h) => list.forEach((score, at) => (entries[`${EH_PLACES[at]}_${h + 1}`] = score)));
    set(entries);
  });
  const reset = obButton("Reset", "", () => set(model.get("start")), "ob-button ob-reset");
  controls.append(kernel.element, heads.element, skip.element, signalChoice.element, best, reset);

  const listing = obCode();
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Move the scores until what you built is the target. The scale, what W_V W_O does in one channel, is always the best one.",
  });
  const left = obMake("div", { className: "eh-left" }, ...boxes, meter);
  const right = obMake("div", { className: "eh-right" }, view.table, wave);
  // On a slide what is said stands beside the table.
  if (obSlide()) right.insertBefore(readout, wave);
  body.append(how, obMake("div", { className: "eh-views" }, left, right));
  const credit = obMake("p", { className: "eh-credit", textContent: model.get("credit") });
  card.append(listing.element, credit);

  const show = () => {
    const value = model.get("value");
    const target = targets[value.kernel];
    const scores = sliders.map((_, h) => EH_PLACES.map((place) => value[`${place}_${h + 1}`]));
    const signal = signals[value.signal];
    const result = compute({ target, scores: value.two_heads ? scores : scores.slice(0, 1), skip: value.skip, signal });
    const { weights, scales } = result;

    kernel.set(names.map((name) => obSlide() ? EH_NAMES[name] : `${EH_NAMES[name]} [${targets[name].map((t) => obText(t)).join(", ")}]`), names.indexOf(value.kernel));
    heads.set(["one", "two"], value.two_heads ? 1 : 0);
    skip.set(["off", "on"], value.skip ? 1 : 0);
    signalChoice.set(obSlide() ? ["step", "photograph"] : ["a step up and down", "a line of the photograph"], Object.keys(signals).indexOf(value.signal));
    sliders.forEach((list, h) => list.forEach((slider, at) => slider.set(EH_STEPS.map((step) => obText(step)), EH_STEPS.indexOf(scores[h][at]))));
    obHide(boxes[1], !value.two_heads);
    obHide(credit, value.signal !== "photograph");

    const scaled = weights.map((list, h) => list.map((weight) => weight * scales[h]));
    line(0, "target", target);
    weights.forEach((list, h) => {
      line(1 + 2 * h, value.two_heads ? `head ${h + 1}` : "head", list);
      line(2 + 2 * h, `\u00d7 ${obBracket(scales[h])}`, scaled[h]);
    });
    if (!value.two_heads) [3, 4].forEach((at) => line(at, "", [], true));
    line(5, "+ skip", [0, 1, 0], !value.skip);
    line(6, "together", result.kernel);
    line(7, "missing", target.map((t, at) => t - result.kernel[at]));

    draw(result, signal);
    const who = `${value.two_heads ? "two heads" : "one head"}${value.skip ? " and the skip" : ""}`;
    const whole = result.limit > 1 - 1e-9;
    const limit = ehMost(value, target, result.limit);
    percent.textContent = ehShare(result.captured);
    most.textContent = whole ? "" : ` (at most ${ehShare(result.limit)} for ${who})`;
    reached.style.width = `${100 * Math.max(0, result.captured)}%`;
    bound.style.left = `${100 * result.limit}%`;
    const parts = weights.map((list, h) =>
      `${value.two_heads ? `Head ${h + 1}` : "The head"} has the weights ${list.map((w) => obText(w)).join(", ")} (none negative, sum 1), times ${obText(scales[h])}.`);
    const list = (numbers) => `[${numbers.map((number) => obText(number)).join(", ")}]`;
    say(
      `Target ${list(target)}. ${obSlide() ? "" : `${parts.join(" ")} `}Together they are ` +
        `${list(result.kernel)}, ${result.captured < 0 ? "worse than nothing: " : ""}${ehShare(result.captured)} of the target\u2019s energy. ${limit}`,
    );
    wave.setAttribute("aria-label",
      `The signal, the target\u2019s response (largest ${obText(Math.max(...result.wanted))}, least ${obText(Math.min(...result.wanted))}) ` +
      `and that of what you built (largest ${obText(Math.max(...result.response))}, least ${obText(Math.min(...result.response))}).`);
    listing.set(code(value, target, result));
    card.dataset.captured = ehShare(result.captured);
  };

  // ---- What the model says -----------------------------------------------------------------------------------
  const valid = (value) => {
    const score = (given) => (Number.isFinite(given) ? Math.max(-EH_MOST, Math.min(EH_MOST, Math.round(given / EH_STEP) * EH_STEP)) + 0 : 0);
    return {
      kernel: obAmong(names, value.kernel),
      ...Object.fromEntries([1, 2].flatMap((head) => EH_PLACES.map((place) => [`${place}_${head}`, score(value[`${place}_${head}`])]))),
      two_heads: value.two_heads === true, skip: value.skip === true,
      signal: obAmong(Object.keys(signals), value.signal),
    };
  };
  const stop = obState(model, valid, show);
  el.replaceChildren(card);
  return stop;
}

export default { render };
