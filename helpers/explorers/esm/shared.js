// Controls, readout and card of every explorer. This text stands in front of each module's own,
// so that a module is one file without imports, in JupyterLab as in a page from file://.

const OB_SERIAL = { page: Math.random().toString(36).slice(2, 7), next: 0 };

function obId(name) {
  OB_SERIAL.next += 1;
  return `ob-${OB_SERIAL.page}-${OB_SERIAL.next}-${name}`;
}

/** Make an element: properties by name, attributes where the name has a dash or is `role`. */
function obMake(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Let JupyterLab leave the keys of a control alone; it must stand on the control itself. */
function obFocusable(element) {
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  return element;
}

function obButton(text, name, onClick, className = "ob-button") {
  const button = obFocusable(obMake("button", { type: "button", className, textContent: text }));
  if (name) button.setAttribute("aria-label", name);
  button.addEventListener("click", () => {
    // A button at its end stays focusable: a disabled one would lose the keyboard's place.
    if (button.getAttribute("aria-disabled") !== "true") onClick();
  });
  return button;
}

/** On a slide: little room, and a class that reads it from the back. */
function obSlide() {
  return document.querySelector(".reveal") !== null;
}

/** In front of a class: where the address or the page says so. */
function obLecture() {
  return (
    new URLSearchParams(location.search).has("lecture") ||
    document.body.classList.contains("ob-lecture")
  );
}

/** Whether a key types into what has the focus. */
function obTypes(element) {
  return element.matches("textarea, input:not([type=range], [type=radio])");
}

/** The card that every explorer stands in: title, controls, body, readout, alert. */
function obCard(model, kind) {
  const title = obMake("p", { className: "ob-title", textContent: model.get("title"), id: obId("title") });
  const description = obMake("p", { className: "ob-description", textContent: model.get("description") });
  const controls = obMake("div", { className: "ob-controls" });
  const body = obMake("div", { className: "ob-body" });
  const readout = obMake("p", { className: "ob-readout", role: "status", "aria-live": "polite" });
  const alert = obMake("p", { className: "ob-alert", role: "alert", hidden: true });
  const card = obMake(
    "div",
    { className: "ob-card", role: "group", "aria-labelledby": title.id, "data-kind": kind, "data-name": model.get("name") },
    title,
  );
  if (model.get("description")) card.append(description);
  card.append(controls, body, readout, alert);
  card.classList.toggle("ob-lecture", obLecture());
  card.classList.toggle("ob-slide", obSlide());
  // Arrow keys and space belong to the control that has the focus, not to the slides around it;
  // letters belong to the slides (speaker notes, full screen) unless they are typed.
  card.addEventListener("keydown", (event) => {
    const typed = obTypes(event.target);
    if ((obSlide() || obLecture()) && /^[1-9]$/.test(event.key) && !typed) obPreset(controls, event.key);
    const letter = obSlide() && /^[a-z]$/i.test(event.key) && !typed;
    if (!letter && !["Escape", "Tab"].includes(event.key)) event.stopPropagation();
  });
  const say = (sentence) => {
    if (readout.textContent !== sentence) readout.textContent = sentence;
    alert.hidden = true;
    alert.textContent = "";
  };
  const complain = (sentence) => {
    alert.hidden = false;
    alert.textContent = sentence;
  };
  return { card, controls, body, readout, alert, say, complain };
}

/**
 * In front of a class, a digit sets the control that has the focus, or the first one: to the value
 * that is this digit, or where no value is a single digit, to the first value, the second, and so on.
 */
function obPreset(controls, digit) {
  const focused = document.activeElement?.closest(".ob-control");
  const control = controls.contains(focused) ? focused : controls.querySelector(".ob-control");
  const texts = [...(control?.querySelectorAll(".ob-ticks span, .ob-choice span") ?? [])].map((tick) => tick.textContent);
  const at = texts.some((text) => /^[1-9]$/.test(text)) ? texts.indexOf(digit) : Number(digit) - 1;
  const inputs = [...(control?.querySelectorAll("input") ?? [])];
  if (at < 0 || at >= texts.length) return;
  if (inputs[0].type === "radio") inputs[at].click();
  else {
    inputs[0].value = at;
    inputs[0].dispatchEvent(new Event("input", { bubbles: true }));
  }
}

// ---- The state: what a figure is asked to show. An address may ask for anything -------------------

/** The value where it is in a list, else another: the list's first. */
function obAmong(list, value, otherwise = list[0]) {
  return list.includes(value) ? value : otherwise;
}

/** The number of a list that is nearest to a value (of two as near, the earlier); another for no number. */
function obNearest(list, value, otherwise = list[0]) {
  if (!Number.isFinite(value)) return otherwise;
  return list.reduce((best, one) => (Math.abs(one - value) < Math.abs(best - value) ? one : best));
}

/** A whole number kept from low to high, both included; another, low, for what is no whole number. */
function obWhole(value, low, high, otherwise = low) {
  return Number.isInteger(value) ? Math.min(high, Math.max(low, value)) : otherwise;
}

/** Change some of a figure's parameters, for the page and for the kernel. */
function obChange(model, entries) {
  model.set("value", { ...model.get("value"), ...entries });
  model.save_changes();
}

/**
 * Keep a figure in a state that exists, and draw it: now, and whenever its value changes.
 *
 * valid(value) gives the nearest state that exists, all parameters by name; of a state that exists
 * it gives the same. show() draws what the model holds. on: what else to call, by the name of the
 * trait that has changed. Gives the function that stops listening.
 */
function obState(model, valid, show, on = {}) {
  const changed = () => {
    const given = model.get("value");
    const kept = valid(given);
    // A change calls this again, with a state that exists: it is drawn there, and once.
    if (Object.keys(kept).some((name) => kept[name] !== given[name])) obChange(model, kept);
    else show();
  };
  const calls = { ...on, value: changed };
  for (const [name, call] of Object.entries(calls)) model.on(`change:${name}`, call);
  changed();
  return () => {
    for (const [name, call] of Object.entries(calls)) model.off(`change:${name}`, call);
  };
}

/** A slider over a list of texts, with its value, its ticks, and a button for each direction. */
function obSlider({ name, label, onChange }) {
  const id = obId(name);
  const input = obFocusable(obMake("input", { type: "range", id, min: 0, step: 1 }));
  const value = obMake("span", { className: "ob-value", "aria-hidden": "true" });
  const ticks = obMake("span", { className: "ob-ticks", "aria-hidden": "true" });
  const less = obButton("\u2212", `${label}: one step down`, () => step(-1), "ob-step");
  const more = obButton("+", `${label}: one step up`, () => step(1), "ob-step");
  // The slider has the arrow keys; its buttons are for the finger and the mouse.
  for (const button of [less, more]) button.tabIndex = -1;
  let texts = [];
  const position = () => Number(input.value);
  const step = (by) => {
    const to = position() + by;
    if (to >= 0 && to < texts.length) onChange(to);
  };
  input.addEventListener("input", () => onChange(position()));
  const element = obMake(
    "div",
    { className: "ob-control", "data-parameter": name },
    obMake("label", { className: "ob-label", for: id, textContent: label }),
    value,
    obMake("span", { className: "ob-slider" }, less, obMake("span", { className: "ob-track" }, input, ticks), more),
  );
  const set = (newTexts, at) => {
    if (newTexts.join("\n") !== texts.join("\n")) {
      texts = newTexts;
      input.max = texts.length - 1;
      ticks.replaceChildren(...texts.map((text) => obMake("span", { textContent: text })));
    }
    if (position() !== at) input.value = at;
    input.setAttribute("aria-valuetext", texts[at]);
    input.disabled = texts.length < 2;
    value.textContent = texts[at];
    less.setAttribute("aria-disabled", String(at === 0));
    more.setAttribute("aria-disabled", String(at === texts.length - 1));
  };
  return { element, set };
}

/** Radio buttons for a few strings or for yes and no. */
function obRadios({ name, label, onChange }) {
  const group = obId(name);
  const choices = obMake("span", { className: "ob-choices" });
  const element = obMake(
    "fieldset",
    { className: "ob-control ob-radios", "data-parameter": name },
    obMake("legend", { className: "ob-label", textContent: label }),
    choices,
  );
  let texts = [];
  const set = (newTexts, at) => {
    if (newTexts.join("\n") !== texts.join("\n")) {
      texts = newTexts;
      choices.replaceChildren(
        ...texts.map((text, index) => {
          const input = obFocusable(obMake("input", { type: "radio", name: group, value: String(index) }));
          input.addEventListener("change", () => input.checked && onChange(index));
          return obMake("label", { className: "ob-choice" }, input, obMake("span", { textContent: text }));
        }),
      );
    }
    const input = choices.querySelectorAll("input")[at];
    if (input && !input.checked) input.checked = true;
  };
  return { element, set };
}

/** Call back once when an element comes near the view. Gives a function that stops waiting. */
function obWhenNear(element, margin, callback) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      callback();
    },
    { rootMargin: margin },
  );
  observer.observe(element);
  return () => observer.disconnect();
}

/** A number as every readout writes it: two decimals at most, a true minus sign. */
function obText(value, digits = 2) {
  return String(Number(value.toFixed(digits)) + 0).replace("-", "\u2212");
}

/** The same in a sum: a negative number stands in brackets. */
function obBracket(value, digits = 2) {
  return value < 0 ? `(${obText(value, digits)})` : obText(value, digits);
}

/** Shade a cell by its value: as in a picture what is an image, in the signed colours what is not. */
function obShade(cell, value, limit, signed) {
  const part = limit > 0 ? Math.min(1, Math.abs(value) / limit) : 0;
  cell.style.setProperty("--ob-part", `${(part * (signed ? 42 : 100)).toFixed(1)}%`);
  cell.classList.toggle("ob-negative", signed && value < 0);
  cell.classList.toggle("ob-positive", signed && value >= 0);
}

function obHide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

/**
 * A table of numbers whose cells one reaches with Tab once and then with the arrow keys.
 * For up to about a hundred numbers that are read; more than that is a picture: obMatrix.
 */
function obTable({ className, head, rowHead, rows, columns }) {
  const cells = [];
  const table = obMake("table", { className: `ob-table ${className}`, role: "grid" });
  const title = obMake("caption");
  table.append(title);
  const body = obMake("tbody");
  const headers = [];
  const heads = (head ?? []).map((name) => obMake("th", { scope: "col", textContent: name }));
  for (let r = 0; r < rows; r += 1) {
    const line = obMake("tr");
    if (rowHead) {
      headers.push(obMake("th", { scope: "row" }));
      line.append(headers[r]);
    }
    cells.push([]);
    for (let c = 0; c < columns; c += 1) {
      const cell = obFocusable(obMake("td", { role: "gridcell", tabIndex: -1 }));
      cell.obPlace = { r, c };
      cells[r].push(cell);
      line.append(cell);
    }
    body.append(line);
  }
  if (head) {
    const corner = obMake("td", { className: "ob-corner" });
    table.append(obMake("thead", {}, obMake("tr", {}, corner, ...heads)));
  }
  table.append(body);
  let [lastRow, lastColumn] = [rows - 1, columns - 1];
  table.addEventListener("keydown", (event) => {
    const place = event.target.obPlace;
    if (!place) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const ends = { Home: 0, End: lastColumn };
    let [r, c] = [place.r, place.c];
    if (event.key in moves) [r, c] = [r + moves[event.key][0], c + moves[event.key][1]];
    else if (event.key in ends) c = ends[event.key];
    else return;
    event.preventDefault();
    if (r < 0 || r > lastRow || c < 0 || c > lastColumn) return;
    // The layout is settled once, with the frame, and not inside focus() for the scrolling.
    cells[r][c].focus({ preventScroll: true });
    requestAnimationFrame(() => cells[r][c].scrollIntoView({ block: "nearest", inline: "nearest" }));
  });
  let stop = null;
  /** Let Tab reach one cell, or none. */
  const setStop = (at) => {
    const next = at ? cells[at[0]][at[1]] : null;
    if (next === stop) return;
    if (stop) stop.tabIndex = -1;
    stop = next;
    if (stop) stop.tabIndex = 0;
  };
  /** Show so many rows and columns, under a caption, with a name for who cannot see it. */
  const fit = (showRows, showColumns, caption, label) => {
    [lastRow, lastColumn] = [showRows - 1, showColumns - 1];
    cells.forEach((line, r) => {
      obHide(line[0].parentElement, r > lastRow);
      line.forEach((cell, c) => obHide(cell, c > lastColumn));
    });
    heads.forEach((cell, c) => obHide(cell, c > lastColumn));
    title.replaceChildren(...caption);
    table.setAttribute("aria-label", label);
  };
  return { table, cells, headers, setStop, fit };
}

/** The folded panel with the PyTorch code for the current state. */
function obCode() {
  const listing = obFocusable(
    obMake("pre", { tabIndex: 0, role: "group", "aria-label": "PyTorch code for this state" }),
  );
  const element = obMake("details", { className: "ob-code", open: !obLecture() && !obSlide() });
  element.append(obFocusable(obMake("summary", { textContent: "PyTorch" })), listing);
  const set = (text) => {
    if (listing.textContent !== text) listing.textContent = text;
  };
  return { element, set };
}

/**
 * A stacked bar. set(pieces, limit) draws { value, kind, text, computed } from left to right, on a scale
 * that ends at the limit; kind, "tokens", "channels", "striped" (channels too), "each" or "rest",
 * gives the colour. It is a picture: the numbers stand in a table or in the readout as well.
 */
function obStack() {
  const element = obMake("div", { className: "ob-stack", "aria-hidden": "true" });
  const set = (pieces, limit) => {
    while (element.children.length < pieces.length) element.append(obMake("i", {}, obMake("span")));
    [...element.children].forEach((child, at) => {
      const { value = 0, kind, text = "", computed = false } = pieces[at] ?? {};
      obHide(child, !(value > 0));
      if (child.hidden) return;
      const part = value / limit;
      child.className = `ob-${kind}${computed ? " ob-computed" : ""}${part < 0.012 ? " ob-thin" : ""}`;
      child.style.width = `${(100 * part).toFixed(3)}%`;
      if (child.firstChild.textContent !== text) child.firstChild.textContent = text;
    });
  };
  return { element, set };
}

/** An SVG element of its text: a parser knows the namespace without being told its address. */
function obSvg(text) {
  const holder = document.createElement("template");
  holder.innerHTML = text;
  return holder.content.firstElementChild;
}

/** The stops of a colour map, which theme.py gives every card of a document. */
function obStops(kind) {
  // Asked of a card of its own: a figure draws before its card is in the document.
  const card = obMake("div", { className: "ob-card", hidden: true });
  document.body.append(card);
  const stops = getComputedStyle(card).getPropertyValue(`--ob-map-${kind}`).trim().split(/\s+/);
  card.remove();
  return stops;
}

/** A colour map as 256 x 4 bytes. */
function obColours(kind) {
  const stops = obStops(kind);
  const rgb = stops.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(1024);
  for (let n = 0; n < 256; n += 1) {
    const at = (n / 255) * (rgb.length - 1);
    const low = Math.min(rgb.length - 2, Math.floor(at));
    for (let c = 0; c < 3; c += 1) table[4 * n + c] = rgb[low][c] + (at - low) * (rgb[low + 1][c] - rgb[low][c]);
    table[4 * n + 3] = 255;
  }
  return table;
}

/**
 * A matrix or an image as a picture: one pixel of a canvas for each cell, with a cursor that the
 * mouse, a finger and the arrow keys move.
 *
 * name: what a screen reader calls it. kind: "signed" (zero in the middle), "weights" (from zero up)
 * or "picture" (grey). cell: pixels of the page for one cell. onPoint(place | null): the mouse is
 * over a cell, or has left. onChoose(place): a click, a tap, or an arrow key. onPaint(place, first):
 * in its place, for a figure that is painted on by dragging; Space and Enter paint too.
 * A place is { row, column }.
 *
 * Gives element; draw(values, rows, columns, limit), with the values row by row; drawColours(bytes,
 * rows, columns), for cells whose colour is no number; mark(list), each { row, column, rows, columns,
 * colour, dashed }; setCursor(place, words), which says the words when the matrix has the focus;
 * setCaption(...content).
 */
function obMatrix({ name, kind, cell = 6, scale = true, onPoint, onChoose, onPaint }) {
  const canvas = obMake("canvas", { "aria-hidden": "true" });
  const marks = obSvg('<svg aria-hidden="true" preserveAspectRatio="none"></svg>');
  const cells = obFocusable(
    obMake("div", { className: "ob-cells", tabIndex: 0, role: "application", "aria-roledescription": "matrix", "aria-label": name }, canvas, marks),
  );
  cells.classList.toggle("ob-paint", Boolean(onPaint));
  const caption = obMake("figcaption");
  const legend = obMake("div", { className: "ob-scale", "aria-hidden": "true" });
  const element = obMake("figure", { className: "ob-matrix" }, caption, cells);
  if (scale && kind !== "picture") element.append(legend);
  cells.style.setProperty("--ob-cell", `${cell}px`);
  let [rows, columns, colours, image, ends, bar] = [0, 0, null, null, "", null];
  let cursor = { row: 0, column: 0 };

  const resize = (newRows, newColumns) => {
    if (newRows === rows && newColumns === columns) return;
    [rows, columns, image] = [newRows, newColumns, null];
    [canvas.width, canvas.height] = [columns, rows];
    cells.style.setProperty("--ob-rows", rows);
    cells.style.setProperty("--ob-columns", columns);
    marks.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
  };
  const put = (fill) => {
    const context = canvas.getContext("2d");
    image ??= context.createImageData(columns, rows);
    fill(image.data);
    context.putImageData(image, 0, 0);
  };
  /** Label the scale with its ends; a signed one with its zero as well. */
  const label = (limit) => {
    const text = `${kind} ${limit}`;
    if (text === ends || !legend.parentElement) return;
    ends = text;
    // Asking for the stops settles the style of the whole page: once is enough.
    if (!bar) {
      bar = obMake("i");
      bar.style.background = `linear-gradient(to right, ${obStops(kind).join(", ")})`;
    }
    const digits = limit < 1 ? 2 : 1;
    const [low, zero] = kind === "signed" ? [obText(-limit, digits), " \u00b7 0 white"] : ["0", ""];
    legend.replaceChildren(low, bar, `${obText(limit, digits)}${zero}`);
  };
  const draw = (values, newRows, newColumns, limit) => {
    resize(newRows, newColumns);
    colours ??= obColours(kind);
    const [offset, gain] = kind === "signed" ? [127.5, 127.5 / (limit || 1)] : [0, 255 / (limit || 1)];
    put((data) => {
      const words = new Uint32Array(data.buffer);
      const palette = new Uint32Array(colours.buffer);
      for (let n = 0; n < words.length; n += 1) {
        words[n] = palette[Math.max(0, Math.min(255, Math.round(offset + gain * values[n])))];
      }
    });
    label(limit);
  };
  const drawColours = (bytes, newRows, newColumns) => {
    resize(newRows, newColumns);
    put((data) => data.set(bytes));
  };
  const mark = (list) => {
    marks.innerHTML = list
      .map(({ row, column, rows: height = 1, columns: width = 1, colour, dashed }) => {
        const box = `x="${column}" y="${row}" width="${width}" height="${height}"`;
        const style = `${colour ? ` style="stroke:${colour}"` : ""}${dashed ? ' stroke-dasharray="5 4"' : ""}`;
        return `<rect class="ob-under" ${box}/><rect ${box}${style}/>`;
      })
      .join("");
  };
  const setCursor = (place, words) => {
    cursor = place;
    cells.setAttribute("aria-label", `${name}. ${words}`);
  };
  const setCaption = (...content) => caption.replaceChildren(...content);

  const at = (event) => {
    const box = cells.getBoundingClientRect();
    const inside = (part, count) => Math.max(0, Math.min(count - 1, Math.floor(part * count)));
    return {
      row: inside((event.clientY - box.top) / box.height, rows),
      column: inside((event.clientX - box.left) / box.width, columns),
    };
  };
  const same = (one, other) => one?.row === other?.row && one?.column === other?.column;
  let pointed = null;
  let painted = null;
  const point = (place) => {
    if (same(place, pointed)) return;
    pointed = place;
    onPoint?.(place);
  };
  cells.addEventListener("pointermove", (event) => {
    const place = at(event);
    if (painted && !same(place, painted)) onPaint((painted = place), false);
    else if (!painted && event.pointerType === "mouse") point(place);
  });
  cells.addEventListener("pointerleave", () => point(null));
  cells.addEventListener("pointerdown", (event) => {
    if (!onPaint || event.button !== 0) return;
    cells.setPointerCapture(event.pointerId);
    onPaint((painted = at(event)), true);
  });
  for (const end of ["pointerup", "pointercancel"]) cells.addEventListener(end, () => (painted = null));
  cells.addEventListener("click", (event) => {
    if (!onPaint) onChoose?.(at(event));
  });
  cells.addEventListener("keydown", (event) => {
    const moves = {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      Home: [0, -columns], End: [0, columns], PageUp: [-rows, 0], PageDown: [rows, 0],
    };
    const paints = onPaint && [" ", "Enter"].includes(event.key);
    // A figure may take the arrow keys before: it has prevented their default then.
    if (event.defaultPrevented || (!(event.key in moves) && !paints)) return;
    event.preventDefault();
    if (paints) {
      onPaint(cursor, true);
      return;
    }
    const within = (value, count) => Math.max(0, Math.min(count - 1, value));
    const place = {
      row: within(cursor.row + moves[event.key][0], rows),
      column: within(cursor.column + moves[event.key][1], columns),
    };
    pointed = null;
    onChoose?.(place);
  });
  return { element, cells, draw, drawColours, mark, setCursor, setCaption };
}
