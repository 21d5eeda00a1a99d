// Starts a deck. Runs before MathJax, whose settings it holds.

window.MathJax = {
  tex: { inlineMath: [["$", "$"], ["\\(", "\\)"]], processEscapes: true },
  startup: {
    ready() {
      MathJax.startup.defaultReady();
      MathJax.startup.promise.then(() => document.dispatchEvent(new Event("deck:math")));
    },
  },
};

const inExplorer = (element) => Boolean(element?.closest?.(".ob-explorer, .ob-card"));

// Arrow keys and the space bar belong to an explorer that has the focus, all other keys to the deck.
const explorersOwn = (event) => inExplorer(event.target) && !["Escape", "f", "s"].includes(event.key);

Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0,
  center: false,
  hash: true,
  slideNumber: "c/t",
  transition: "none",
  keyboardCondition: (event) => !explorersOwn(event),
  plugins: [RevealNotes],
});

// A presenter's remote control sends PageUp and PageDown. It turns the slide also while a slider
// has the focus, where these keys would move the slider.
window.addEventListener(
  "keydown",
  (event) => {
    if (!["PageUp", "PageDown"].includes(event.key) || !inExplorer(event.target)) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.blur();
    if (event.key === "PageDown") Reveal.next();
    else Reveal.prev();
  },
  { capture: true },
);

// A slide that is too high scrolls. Say so, by sight and for the keyboard.
const more = document.createElement("button");
more.className = "deck-more";
more.type = "button";
more.textContent = "More below";
more.hidden = true;
document.querySelector(".reveal").append(more);
more.addEventListener("click", () => Reveal.getCurrentSlide().scrollBy(0, 480));

const slides = () => [...document.querySelectorAll(".slides section:not(.stack)")];
const hidden = (slide) => slide.scrollHeight - slide.clientHeight - slide.scrollTop;

function mark() {
  const slide = Reveal.getCurrentSlide();
  if (!slide) return;
  const long = slide.scrollHeight > slide.clientHeight + 1;
  if (long) slide.setAttribute("tabindex", "0");
  else slide.removeAttribute("tabindex");
  more.hidden = !long || hidden(slide) < 24;
}

Reveal.on("fragmentshown", ({ fragment }) => fragment.scrollIntoView({ block: "nearest" }));
for (const name of ["ready", "slidechanged", "fragmentshown", "fragmenthidden"]) Reveal.on(name, mark);
document.addEventListener("deck:math", mark);
document.addEventListener("toggle", mark, true);
for (const slide of slides()) {
  slide.addEventListener("scroll", mark, { passive: true });
  new ResizeObserver(mark).observe(slide);
  for (const child of slide.children) new ResizeObserver(mark).observe(child);
}
