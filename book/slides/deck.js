// Starts a deck. Runs before MathJax, whose settings it holds.

const query = new URLSearchParams(location.search);
const printed = query.has("print-pdf");
const root = document.documentElement;
root.classList.toggle("deck-lecture", query.has("lecture"));

const formulas = new Promise((done) => {
  window.MathJax = {
    tex: { inlineMath: [["$", "$"], ["\\(", "\\)"]], processEscapes: true },
    startup: {
      ready() {
        MathJax.startup.defaultReady();
        MathJax.startup.promise.then(done);
      },
    },
  };
});
const explorers = new Promise((done) => document.addEventListener("ob:ready", done));

/** The slides themselves, without the groups they stand in. */
const slides = () => [...document.querySelectorAll(".slides section:not(.stack)")];
const inExplorer = (element) => Boolean(element?.closest?.(".ob-explorer, .ob-card"));
const isField = (element) =>
  Boolean(element?.closest?.('textarea, select, [contenteditable], input:not([type="range"], [type="radio"])'));

// ---- A slide that is too high -------------------------------------------------------------------
// It scrolls, and says so in the margin below. A step forward first shows what is below.

const more = document.createElement("button");
more.className = "deck-more";
more.type = "button";
more.hidden = true;
document.querySelector(".reveal").append(more);
more.addEventListener("click", () => scroll(1) || scroll(-1));

/** How much of a slide stands below its lower edge, its own margin not counted. */
function below(slide) {
  const margin = parseFloat(getComputedStyle(slide).paddingBottom);
  return slide.scrollHeight - slide.clientHeight - slide.scrollTop - margin;
}

/** Scroll the slide in view up (-1) or down (1), if there is anything to see there. */
function scroll(direction) {
  const slide = Reveal.getCurrentSlide();
  if (direction > 0 ? below(slide) <= 0 : slide.scrollTop <= 0) return false;
  slide.scrollBy({ top: direction * (slide.clientHeight - 120), behavior: "instant" });
  tellMainWindow(slide.scrollTop);
  return true;
}

/** In the speaker's window: scroll the window that the class sees as well. */
function tellMainWindow(top) {
  if (!query.has("receiver")) return;
  const { h, v, f } = Reveal.getIndices();
  window.parent.opener?.postMessage(JSON.stringify({ namespace: "deck", h, v, f, top }), "*");
}

window.addEventListener("message", ({ data }) => {
  if (typeof data !== "string" || !data.includes('"namespace":"deck"')) return;
  const { h, v, f, top } = JSON.parse(data);
  Reveal.slide(h, v, f);
  Reveal.getCurrentSlide().scrollTop = top;
});

// ---- Sizes --------------------------------------------------------------------------------------
// The text is as large as the slide allows with all its fragments; never smaller than the last.

const SIZES = root.classList.contains("deck-lecture")
  ? [[32, 24], [30, 24], [30, 22]]
  : [[28, 22], [26, 22]];

function fit(slide) {
  slide.classList.add("deck-measured");
  for (const [prose, code] of SIZES) {
    slide.style.setProperty("--deck-prose", `${prose}px`);
    slide.style.setProperty("--deck-code", `${code}px`);
    if (below(slide) + slide.scrollTop <= 0) break;
  }
  slide.classList.remove("deck-measured");
}

function mark() {
  if (printed || !Reveal.isReady()) return;
  const slide = Reveal.getCurrentSlide();
  const long = below(slide) + slide.scrollTop > 0;
  if (long) slide.setAttribute("tabindex", "0");
  else slide.removeAttribute("tabindex");
  more.hidden = !long;
  more.textContent = below(slide) > 0 ? "More below" : "More above";
}

/** Only what is in view can get the focus. The overview shows, and takes clicks on, all slides. */
function shut() {
  const [here, all] = [Reveal.getCurrentSlide(), Reveal.isOverview()];
  for (const slide of slides()) slide.inert = !all && slide !== here;
}

function arrive() {
  if (printed || !Reveal.isReady()) return;
  shut();
  fit(Reveal.getCurrentSlide());
  mark();
}

// ---- Keys ---------------------------------------------------------------------------------------

/** A step of the lecture: to what is hidden on this slide, else to the next fragment or slide. */
const step = (direction, inOverview) => (event) => {
  if (Reveal.isOverview()) return Reveal[inOverview]();
  if (scroll(direction)) return undefined;
  const options = { skipFragments: event?.altKey };
  return direction > 0 ? Reveal.next(options) : Reveal.prev(options);
};
const forward = step(1, "next");
const back = step(-1, "prev");

// An explorer that has the focus keeps the keys that move it; these are always the deck's.
const DECK_KEYS = { Escape: 27, b: 66, f: 70, o: 79, s: 83 };
const TURNS = { PageUp: back, PageDown: forward };

function theirs(event) {
  const { key, target } = event;
  // What has the focus is pressed with the space bar, and the slide stays.
  if ([" ", "Enter"].includes(key) && target?.closest?.("summary, button, a")) return true;
  return inExplorer(target);
}

// reveal itself hears no key while a slider or a field has the focus.
window.addEventListener(
  "keydown",
  (event) => {
    const { key, target } = event;
    if (!inExplorer(target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const name = key.length === 1 ? key.toLowerCase() : key;
    const turns = key in TURNS;
    if (!turns && (!(name in DECK_KEYS) || isField(target))) return;
    event.preventDefault();
    event.stopPropagation();
    target.blur();
    if (turns) TURNS[key](event);
    else {
      Reveal.triggerKey(DECK_KEYS[name]);
      target.focus({ preventScroll: true });
    }
  },
  { capture: true },
);

const keyboard = {
  32: (event) => {
    if (Reveal.isOverview()) Reveal.toggleOverview(false);
    else if (event?.shiftKey) back(event);
    else forward(event);
  },
  33: back,
  34: forward,
  37: step(-1, "left"),
  38: step(-1, "up"),
  39: step(1, "right"),
  40: step(1, "down"),
};

// ---- On paper -----------------------------------------------------------------------------------

const FOLDS = ".slides details:not(.ob-card details)";

/** Prepare `?print-pdf`: everything open, and a slide that is a little too high made smaller. */
function layOutForPaper() {
  root.classList.add("reveal-print");
  for (const fold of document.querySelectorAll(FOLDS)) fold.open = true;
  for (const slide of slides()) {
    const paper = document.createElement("div");
    paper.className = "deck-paper";
    paper.append(...slide.childNodes);
    slide.append(paper);
    const { paddingTop, paddingBottom } = getComputedStyle(slide);
    // A page of reveal's is one pixel lower than the canvas.
    const room = 719 - parseFloat(paddingTop) - parseFloat(paddingBottom) - 1;
    // At most so small; what is still too high goes on another page.
    for (let scale = 1; scale >= 0.6 && paper.getBoundingClientRect().height > room; scale -= 0.02)
      paper.style.zoom = scale;
  }
}

let unfolded = [];
window.addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll(`${FOLDS}:not([open])`)];
  for (const fold of unfolded) fold.open = true;
});
window.addEventListener("afterprint", () => {
  for (const fold of unfolded) fold.open = false;
});

// ---- Start --------------------------------------------------------------------------------------

function start() {
  if (printed) layOutForPaper();
  Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0,
    center: false,
    hash: true,
    navigationMode: "linear",
    slideNumber: "c/t",
    transition: "none",
    pdfSeparateFragments: false,
    keyboard,
    keyboardCondition: (event) => !theirs(event),
    plugins: [RevealNotes],
  });
}

/** What is measured for paper must be there; what fails is not waited for. */
async function complete() {
  await Promise.all([formulas, explorers]);
  const pictures = [...document.querySelectorAll('.slides img:not([loading="lazy"])')];
  await Promise.allSettled(pictures.map((picture) => picture.decode()));
}
const patience = new Promise((done) => setTimeout(done, 10000));
if (printed) Promise.race([complete(), patience]).then(start);
else start();

Reveal.on("ready", arrive);
Reveal.on("slidechanged", arrive);
for (const name of ["overviewshown", "overviewhidden"]) Reveal.on(name, shut);
Reveal.on("fragmentshown", ({ fragment }) => {
  const slide = Reveal.getCurrentSlide();
  fragment.scrollIntoView({ block: "nearest" });
  // Less than a line that is left to see comes into view as well.
  if (below(slide) < 40) slide.scrollTop = slide.scrollHeight;
  mark();
});
Reveal.on("fragmenthidden", mark);
for (const there of [formulas, explorers]) there.then(arrive);
document.addEventListener("load", ({ target }) => target.localName === "img" && arrive(), true);
document.addEventListener("toggle", mark, true);
for (const slide of slides()) {
  slide.addEventListener("scroll", mark, { passive: true });
  const observer = new ResizeObserver(mark);
  for (const element of [slide, ...slide.children]) observer.observe(element);
}
