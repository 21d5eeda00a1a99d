// The front end of `explore`: controls for the parameters of a draw function, and its pictures.
// With a kernel, pictures come in messages; without, from files. Both are kept once seen.

/** The positions that a control offers: what exists for the controls before it. */
export function choices(states, state, parameter) {
  const fits = states.filter((other) => other.slice(0, parameter).every((at, i) => at === state[i]));
  return [...new Set(fits.map((other) => other[parameter]))].sort((a, b) => a - b);
}

/** The state nearest to a wanted one; earlier parameters are kept first, ties go to the earlier. */
export function nearest(states, wanted, ordered) {
  const distance = (state) =>
    state.map((has, i) => (ordered[i] ? Math.abs(has - wanted[i]) : Number(has !== wanted[i])));
  let best = 0;
  let least = distance(states[0]);
  for (let index = 1; index < states.length; index += 1) {
    const here = distance(states[index]);
    const differs = here.findIndex((d, i) => d !== least[i]);
    if (differs >= 0 && here[differs] < least[differs]) [best, least] = [index, here];
  }
  return best;
}

/** The states not known yet, nearest to the current one first. */
export function ahead(states, at, known) {
  const steps = (state) => state.reduce((sum, has, i) => sum + Math.abs(has - states[at][i]), 0);
  return states
    .map((state, index) => ({ index, steps: steps(state) }))
    .filter(({ index }) => !known(index))
    .sort((a, b) => a.steps - b.steps || a.index - b.index)
    .map(({ index }) => index);
}

const PATIENCE = 1500;
// Nothing is drawn ahead until the reader has been quiet for so long: the kernel stays free for
// the state that is asked for.
const QUIET = 300;

/** Pictures from a kernel: one request at a time, the state in view before the others. */
function liveFrames(model, { onFrame, onError, current, visible }) {
  const ratio = obLecture() || obSlide() ? 2 : window.devicePixelRatio || 1;
  const scale = Math.min(2, Math.max(1, Math.ceil(ratio * 2) / 2));
  const count = model.get("states").length;
  const asked = new Set();
  const failed = new Set();
  const known = new Map();
  let quiet = 0;
  let later = 0;
  const busy = () => {
    quiet = performance.now() + QUIET;
  };
  const request = (state) => {
    asked.add(state);
    model.send({ type: "draw", state, scale });
  };
  const keep = (content, bytes) => {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([bytes], { type: content.mime }));
    known.set(content.state, { image, ...content });
  };
  const next = () => {
    if (asked.size > 0) return;
    if (!known.has(current()) && !failed.has(current())) {
      request(current());
      return;
    }
    if (!visible() || document.hidden || known.size === count) return;
    const rest = quiet - performance.now();
    if (rest > 0) {
      clearTimeout(later);
      later = setTimeout(next, rest);
      return;
    }
    const skip = (state) => known.has(state) || failed.has(state);
    const [state] = ahead(model.get("states"), current(), skip);
    if (state !== undefined) request(state);
  };
  const receive = (content, buffers) => {
    if (content.type === "stale") {
      for (const { image } of known.values()) URL.revokeObjectURL(image.src);
      for (const memory of [known, failed, asked]) memory.clear();
      request(current());
      return;
    }
    asked.delete(content.state);
    if (content.type === "frame") {
      keep(content, buffers[0]);
      onFrame(content.state);
    } else if (content.type === "error") {
      failed.add(content.state);
      onError(content);
    }
    // A pause lets other messages of the page reach the kernel between two frames.
    setTimeout(next, 10);
  };
  model.on("msg:custom", receive);
  document.addEventListener("visibilitychange", next);
  const first = model.get("frame");
  keep(first, first.data);
  busy();
  return {
    get: (state) => known.get(state),
    want: (state) => {
      failed.delete(state);
      // While one request of the reader is drawn, only the latest of the next ones matters.
      if (asked.size < 2 && !asked.has(state)) request(state);
    },
    busy,
    next,
    close: () => {
      clearTimeout(later);
      model.off("msg:custom", receive);
      document.removeEventListener("visibilitychange", next);
      for (const { image } of known.values()) URL.revokeObjectURL(image.src);
    },
  };
}

/** Pictures from files: the first at once, the others when the explorer comes near the view. */
function storedFrames(model, { onFrame, current, near }) {
  const frames = model.get("frames");
  const known = new Map();
  const load = async (state) => {
    if (known.has(state)) return;
    const image = new Image();
    image.src = frames[state].src;
    known.set(state, { image, ...frames[state] });
    try {
      await image.decode();
    } catch {
      image.alt = frames[state].sentence;
    }
    onFrame(state);
  };
  load(current());
  const stop = near(async () => {
    for (const state of ahead(model.get("states"), current(), (s) => known.has(s))) await load(state);
  });
  return { get: (state) => known.get(state), want: load, busy: () => {}, next: () => {}, close: stop };
}

function render({ model, el }) {
  const parameters = model.get("parameters");
  const states = model.get("states");
  const ordered = parameters.map(({ kind }) => kind === "range");
  const { card, controls, body, say, complain } = obCard(model, "explore");
  const picture = obMake("div", { className: "ob-picture" });
  body.append(picture);

  const positions = (value, fallback) =>
    parameters.map(({ name, values }, i) => {
      const at = values.indexOf(value[name]);
      return at >= 0 ? at : fallback[i];
    });
  const indexOf = (value, fallback) => nearest(states, positions(value, fallback), ordered);
  let at = indexOf(model.get("value"), states[0]);
  let visible = false;
  let timer = 0;

  const refresh = () => {
    card.dataset.state = at;
    parameters.forEach(({ texts }, i) => {
      const offered = choices(states, states[at], i);
      widgets[i].set(offered.map((j) => texts[j]), offered.indexOf(states[at][i]));
    });
  };
  const swap = async (state) => {
    const frame = frames.get(state);
    const { image, width, height, sentence } = frame;
    try {
      // Only a decoded picture is put in, so that no blank one is ever painted.
      await image.decode();
    } catch {
      // A picture that cannot be read shows its sentence.
    }
    if (state !== at) return;
    clearTimeout(timer);
    image.alt = sentence;
    image.width = width;
    image.height = height;
    image.className = "dark-light";
    if (!picture.style.aspectRatio) {
      picture.style.aspectRatio = `${width} / ${height}`;
      picture.style.setProperty("--ob-width", `${width}px`);
    }
    if (picture.firstChild !== image) picture.replaceChildren(image);
    picture.removeAttribute("aria-busy");
    card.dataset.shown = state;
    say(sentence);
  };
  const show = () => {
    clearTimeout(timer);
    frames.busy();
    if (frames.get(at)) return swap(at);
    picture.setAttribute("aria-busy", "true");
    timer = setTimeout(
      () => say("Waiting for the kernel to draw this. If it was restarted, run this cell again."),
      PATIENCE,
    );
    return frames.want(at);
  };
  const go = (state) => {
    const moved = state !== at;
    at = state;
    refresh();
    const value = Object.fromEntries(
      parameters.map(({ name, values }, i) => [name, values[states[at][i]]]),
    );
    // Asked for first: the kernel answers one message after the other.
    if (moved) show();
    const held = model.get("value");
    if (parameters.some(({ name }) => held[name] !== value[name])) {
      model.set("value", value);
      model.save_changes();
    }
  };
  const choose = (parameter, choice) => {
    const wanted = [...states[at]];
    wanted[parameter] = choices(states, states[at], parameter)[choice];
    go(nearest(states, wanted, ordered));
  };

  const widgets = parameters.map(({ name, label, kind }, i) => {
    const make = kind === "range" ? obSlider : obRadios;
    return make({ name, label, onChange: (choice) => choose(i, choice) });
  });
  const reset = obButton("Reset", "", () => go(indexOf(model.get("start"), states[0])), "ob-button ob-reset");
  controls.append(...widgets.map(({ element }) => element), reset);

  const hooks = {
    onFrame: (state) => state === at && swap(state),
    onError: ({ state, exception, message, where }) => {
      if (state !== at) return;
      clearTimeout(timer);
      picture.removeAttribute("aria-busy");
      complain(`${exception}: ${message} (drawing ${where}). The picture is the last one that worked.`);
    },
    current: () => at,
    visible: () => visible,
    near: (callback) => obWhenNear(card, "600px", callback),
  };
  const frames = model.get("frames") ? storedFrames(model, hooks) : liveFrames(model, hooks);
  const changed = () => go(indexOf(model.get("value"), states[at]));
  model.on("change:value", changed);
  refresh();
  el.replaceChildren(card);
  const stopWaiting = obWhenNear(card, "0px", () => {
    visible = true;
    frames.next();
  });
  show();
  return () => {
    clearTimeout(timer);
    stopWaiting();
    frames.close();
    model.off("change:value", changed);
  };
}

export default { render };
