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
    const letter = obSlide() && /^[a-z]$/i.test(event.key) && !obTypes(event.target);
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
