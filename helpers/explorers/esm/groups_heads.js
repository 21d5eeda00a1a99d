// Groups beside heads: who reads whom, one N x N pattern for each, and what it costs.

const GH_CHANNELS = [8, 96];
const GH_KERNELS = [1, 3, 5, 7];
const GH_SIDE = 6;
const GH_SHOWN = 8;
const GH_SEEDS = { tokens: 1, query: 2, key: 3, value: 4, kernel: 5 };

function divisors(number) {
  return Array.from({ length: number }, (_, n) => n + 1).filter((n) => number % n === 0);
}

/** A number from -1 to 1 without order, for a seed, a row and a column: the same as in Python. */
function scattered(seed, row, column) {
  let h = Math.imul(seed, 2654435761) ^ Math.imul(row + 1, 2246822519);
  h ^= Math.imul(column + 1, 3266489917);
  h = Math.imul(h ^ (h >>> 15), 2246822519);
  h = Math.imul(h ^ (h >>> 13), 3266489917);
  h ^= h >>> 16;
  return (h >>> 0) / 2 ** 31 - 1;
}

/** Where the shown patterns begin, so that number `at` of `count` is among them. */
function firstShown(at, count) {
  return Math.max(0, Math.min(Math.floor(at / GH_SHOWN) * GH_SHOWN, count - GH_SHOWN));
}

/** Queries or keys of all channels, (N x C), kept: they are the same for every number of heads. */
const projected = {};
function project(what, channels) {
  projected[`${what} ${channels}`] ??= (() => {
    const [count, scale] = [GH_SIDE ** 2, 3 / Math.sqrt(channels)];
    const out = new Float64Array(count * channels);
    const x = Float64Array.from({ length: count * channels }, (_, n) => scattered(GH_SEEDS.tokens, Math.floor(n / channels), n % channels));
    for (let o = 0; o < channels; o += 1) {
      for (let i = 0; i < channels; i += 1) {
        const w = scale * scattered(GH_SEEDS[what], o, i);
        for (let n = 0; n < count; n += 1) out[n * channels + o] += w * x[n * channels + i];
      }
    }
    return out;
  })();
  return projected[`${what} ${channels}`];
}

/** The attention pattern of one head, row by row. */
function attentionOf(head, channels, heads) {
  const [count, width] = [GH_SIDE ** 2, channels / heads];
  const [query, key] = [project("query", channels), project("key", channels)];
  const rows = [];
  for (let n = 0; n < count; n += 1) {
    const scores = new Array(count);
    for (let m = 0; m < count; m += 1) {
      let sum = 0;
      for (let c = head * width; c < (head + 1) * width; c += 1) sum += query[n * channels + c] * key[m * channels + c];
      scores[m] = sum / Math.sqrt(width);
    }
    const top = Math.max(...scores);
    const parts = scores.map((score) => Math.exp(score - top));
    const total = parts.reduce((sum, part) => sum + part, 0);
    rows.push(parts.map((part) => part / total));
  }
  return rows;
}

/** The token mixing pattern of one wire of the convolution: its kernel in every row. */
function kernelPattern(output, input, channels, k) {
  const [count, reach] = [GH_SIDE ** 2, Math.floor(k / 2)];
  return Array.from({ length: count }, (_, n) =>
    Array.from({ length: count }, (_, m) => {
      const down = Math.floor(m / GH_SIDE) - Math.floor(n / GH_SIDE);
      const right = (m % GH_SIDE) - (n % GH_SIDE);
      if (Math.max(Math.abs(down), Math.abs(right)) > reach) return 0;
      return scattered(GH_SEEDS.kernel, output * channels + input, (down + 3) * 8 + right + 3);
    }),
  );
}

/**
 * One state. Gives conv_weights and attention_weights for each divisor of the channels, group_reads
 * and head_reads (1 for each input channel that is read), and up to eight patterns for each side.
 */
export function compute({ channels, kernel_size: k, groups, heads, channel }) {
  const [width, headWidth] = [channels / groups, channels / heads];
  const [group, head] = [Math.floor(channel / width), Math.floor(channel / headWidth)];
  const each = (count, make) => Array.from({ length: count }, (_, n) => make(n));
  const [firstWire, firstHead] = [firstShown(channel % width, width), firstShown(head, heads)];
  return {
    conv_weights: divisors(channels).map((n) => (k * k * channels * channels) / n),
    attention_weights: divisors(channels).map(() => 4 * channels * channels),
    group_reads: each(channels, (i) => (Math.floor(i / width) === group ? 1 : 0)),
    head_reads: each(channels, (i) => (scattered(GH_SEEDS.value, channel, i) === 0 ? 0 : 1)),
    kernels: each(Math.min(GH_SHOWN, width), (n) => kernelPattern(channel, group * width + firstWire + n, channels, k)),
    attention: each(Math.min(GH_SHOWN, heads), (n) => attentionOf(firstHead + n, channels, heads)),
  };
}

const ghNumber = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
const ghCount = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function code({ channels, kernel_size: k, groups, heads, channel }, conv, attention) {
  const width = channels / groups;
  const first = Math.floor(channel / width) * width;
  return [
    `conv = nn.Conv2d(${channels}, ${channels}, ${k}, padding=${Math.floor(k / 2)}, groups=${groups}, bias=False)`,
    `attention = nn.MultiheadAttention(${channels}, num_heads=${heads}, bias=False)`,
    "",
    `conv.weight.shape                                # (${channels}, ${width}, ${k}, ${k})`,
    `conv.weight.numel()                              # ${ghNumber(conv)}`,
    `sum(p.numel() for p in attention.parameters())   # ${ghNumber(attention)}`,
    "",
    `# output channel ${channel} of the convolution reads image[:, ${first}:${first + width}]`,
    `w_q, w_k, w_v = attention.in_proj_weight.chunk(3)`,
    `w_v[${channel}].shape`.padEnd(49) + `# (${channels},): reads all channels`,
  ].join("\n");
}

function render({ model, el }) {
  const { card, controls, body, readout, say } = obCard(model, "groups_heads");
  const listing = obCode();
  // Another number of channels: the nearest number of groups and of heads that divides it.
  const change = (entries) => obChange(model, valid({ ...model.get("value"), ...entries }));

  // ---- The views -----------------------------------------------------------------------------
  const half = (side, name) => {
    const title = obMake("p", { className: "gh-head" });
    const wires = obSvg('<svg class="gh-wires" viewBox="0 0 310 218" aria-hidden="true"></svg>');
    const caption = obMake("figcaption");
    const canvas = obMake("canvas", { role: "img" });
    const bars = obSvg('<svg class="gh-bars" viewBox="0 0 310 104" role="img"></svg>');
    // The dots of the followed column can be clicked; the slider does the same by keyboard.
    wires.addEventListener("click", (event) => {
      const box = wires.getBoundingClientRect();
      const { channels } = model.get("value");
      const at = ((event.clientY - box.top) / box.height) * 218;
      const row = Math.floor(((at - 22) / 192) * channels);
      if (row >= 0 && row < channels) change({ channel: row });
    });
    const element = obMake("div", { className: `gh-half gh-${side}` },
      title, wires, bars, obMake("figure", { className: "gh-patterns" }, caption, canvas));
    return { element, title, wires, caption, canvas, bars, name };
  };
  const [left, right] = [half("left", "groups"), half("right", "heads")];
  const how = obMake("p", {
    className: "ob-how",
    textContent: "Move groups, then heads: which wires and which bars change? Then set channels to 96, the first stage of ConvNeXt-T, and do it again. The square marks the channel that is followed.",
  });
  body.append(how, obMake("div", { className: "gh-halves" }, left.element, right.element), readout, listing.element);

  const [TOP, HIGH] = [22, 192];
  const drawWires = (view, { columns, blocks, blocksAt, wired, reads, into, channels, channel, labels }) => {
    const y = (c) => TOP + ((c + 0.5) / channels) * HIGH;
    const edge = (c) => TOP + (c / channels) * HIGH;
    const parts = [];
    for (const [from, to, count] of wired) {
      const size = channels / count;
      let lines = "";
      for (let block = 0; block < count; block += 1) {
        const first = block * size;
        if (size > 8) {
          parts.push(`<rect class="gh-band" x="${from}" y="${edge(first) + 0.5}" width="${to - from}" height="${(size / channels) * HIGH - 1}"/>`);
          continue;
        }
        for (let i = first; i < first + size; i += 1) {
          for (let o = first; o < first + size; o += 1) lines += `M${from} ${y(i).toFixed(1)}L${to} ${y(o).toFixed(1)}`;
        }
      }
      if (lines) parts.push(`<path class="gh-wire" d="${lines}"/>`);
    }
    const strong = reads.map((one, i) => (one ? `M${into[0]} ${y(i).toFixed(1)}L${into[1]} ${y(channel).toFixed(1)}` : "")).join("");
    parts.push(`<path class="gh-read ${channels > 8 ? "gh-many" : ""}" d="${strong}"/>`);
    const size = channels / blocks;
    // More boxes than one can tell apart are left out: the wires show them.
    if (blocks <= 16) {
      for (const x of blocksAt) {
        for (let block = 0; block < blocks; block += 1) {
          parts.push(`<rect class="gh-block" x="${x - 9}" y="${edge(block * size) + 1}" width="18" height="${(size / channels) * HIGH - 2}"/>`);
        }
      }
    }
    const radius = channels > 8 ? 1 : 4;
    for (const [name, x] of columns) {
      // A name at the edge stays inside the picture, however large its letters are.
      const [at, anchor] = x < 60 ? [0, "start"] : x > 250 ? [310, "end"] : [x, "middle"];
      const dots = Array.from({ length: channels }, (_, c) => `M${x - radius} ${y(c).toFixed(1)}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`).join("");
      parts.push(`<path class="gh-dots" d="${dots}"/><text x="${at}" y="14" text-anchor="${anchor}">${name}</text>`);
    }
    for (const [text, x] of labels) parts.push(`<text class="gh-w" x="${x}" y="14" text-anchor="middle">W<tspan class="gh-sub" dy="4">${text}</tspan></text>`);
    parts.push(`<rect class="gh-chosen" x="${into[1] - 7}" y="${y(channel) - 7}" width="14" height="14"/>`);
    view.wires.innerHTML = parts.join("");
  };

  const colours = {};
  /** Up to eight patterns in two lines of four, a cell between them. */
  const drawPatterns = (view, patterns, kind, limit, chosen) => {
    colours[kind] ??= new Uint32Array(obColours(kind).buffer);
    const [side, palette] = [GH_SIDE ** 2, colours[kind]];
    const [rows, columns] = [patterns.length > 4 ? 2 * side + 2 : side, 4 * side + 6];
    view.canvas.width = columns;
    view.canvas.height = rows;
    view.canvas.style.setProperty("--gh-columns", columns);
    view.canvas.style.setProperty("--gh-rows", rows);
    const context = view.canvas.getContext("2d");
    const picture = context.createImageData(columns, rows);
    const words = new Uint32Array(picture.data.buffer);
    const [offset, gain] = kind === "signed" ? [127.5, 127.5 / limit] : [0, 255 / limit];
    patterns.forEach((pattern, index) => {
      const [top, from] = [Math.floor(index / 4) * (side + 2), (index % 4) * (side + 2)];
      pattern.forEach((row, r) =>
        row.forEach((value, c) => {
          words[(top + r) * columns + from + c] = palette[Math.max(0, Math.min(255, Math.round(offset + gain * value)))];
        }),
      );
    });
    context.putImageData(picture, 0, 0);
    view.canvas.dataset.chosen = chosen;
  };

  const drawBars = (view, weights, most, numbers, at) => {
    const step = 310 / numbers.length;
    const high = (n) => Math.max(1.5, (n / most) * 58);
    // Twelve numbers are too many for the width: every second, and the one that is chosen.
    const told = (i) => numbers.length < 8 || i === at || ((i === 0 || i % 2 === 1) && Math.abs(i - at) > 1);
    const bars = weights.map((n, i) =>
      `<rect class="${i === at ? "gh-now" : "gh-bar"}" x="${(i + 0.15) * step}" y="${80 - high(n)}" width="${0.7 * step}" height="${high(n)}"/>` +
      (told(i) ? `<text x="${(i + 0.5) * step}" y="98" text-anchor="middle">${numbers[i]}</text>` : ""));
    const middle = Math.max(48, Math.min(262, (at + 0.5) * step));
    view.bars.innerHTML = `<g aria-hidden="true">${bars.join("")}<path class="gh-base" d="M0 80H310"/>` +
      `<text class="gh-total" x="${middle}" y="${75 - high(weights[at])}" text-anchor="middle">${ghNumber(weights[at])}</text></g>`;
    const ends = `${ghNumber(weights[0])} at 1 to ${ghNumber(weights[weights.length - 1])} at ${numbers[numbers.length - 1]}`;
    view.bars.setAttribute("aria-label", `Weights for each number of ${view.name}: ${ends}; now ${ghNumber(weights[at])}.`);
  };

  const show = () => {
    const value = model.get("value");
    const { channels, kernel_size: k, groups, heads, channel } = value;
    const result = compute(value);
    const numbers = divisors(channels);
    card.dataset.channels = channels;
    const [width, headWidth] = [channels / groups, channels / heads];
    const head = Math.floor(channel / headWidth);
    const common = { channels, channel };
    drawWires(left, {
      ...common, columns: [["input", 30], ["output", 280]], blocks: groups, blocksAt: [30, 280],
      wired: [[30, 280, groups]], reads: result.group_reads, into: [30, 280], labels: [],
    });
    drawWires(right, {
      ...common, columns: [["input", 20], ["values", 155], ["output", 285]], blocks: heads, blocksAt: [155],
      wired: [[20, 155, 1], [155, 285, 1]], reads: result.head_reads, into: [20, 155], labels: [["V", 88], ["O", 217]],
    });
    left.title.textContent = `Conv2d, groups=${groups}`;
    right.title.textContent = `Attention, num_heads=${heads}`;
    drawPatterns(left, result.kernels, "signed", 1, channel);
    const largest = Math.max(...result.attention.flat(2));
    drawPatterns(right, result.attention, "weights", largest, head);
    const several = (shown, count) => (shown < count ? `${shown} of ${count}` : count);
    left.caption.textContent =
      `A of each thick wire: ${several(result.kernels.length, width)}. A parameter, \u22121 to 1.`;
    right.caption.textContent =
      `A of each head: ${several(result.attention.length, heads)}. Computed from X, 0 to ${obText(largest)}.`;
    left.canvas.setAttribute("aria-label", `${ghCount(width, "banded pattern")} of both signs, the same kernel in every row.`);
    right.canvas.setAttribute("aria-label", `${ghCount(heads, "pattern")} of positive weights, another row for every token.`);
    const most = Math.max(...result.conv_weights, ...result.attention_weights);
    const [atGroups, atHeads] = [numbers.indexOf(groups), numbers.indexOf(heads)];
    drawBars(left, result.conv_weights, most, numbers, atGroups);
    drawBars(right, result.attention_weights, most, numbers, atHeads);
    const [conv, attention] = [result.conv_weights[atGroups], result.attention_weights[atHeads]];
    const total = (list) => list.reduce((sum, n) => sum + n, 0);
    listing.set(code(value, conv, attention));
    say(
      `Output channel ${channel} of the convolution reads ${total(result.group_reads)} of ${channels} input ` +
        `channels: those of its group, ${ghCount(groups, "group")} in all. Head ${head} reads ` +
        `${total(result.head_reads)} of ${channels}: its values are made of all of them, ` +
        `${ghCount(heads, "head")} in all. Weights without biases: convolution ${ghNumber(conv)}, ` +
        `attention ${ghNumber(attention)} whatever the number of heads.`,
    );
    sizes.set(GH_CHANNELS.map(String), GH_CHANNELS.indexOf(channels));
    kernels.set(GH_KERNELS.map(String), GH_KERNELS.indexOf(k));
    inGroups.set(numbers.map(String), atGroups);
    inHeads.set(numbers.map(String), atHeads);
    followed.set(Array.from({ length: channels }, (_, c) => String(c)), channel);
  };

  const sizes = obRadios({ name: "channels", label: "channels C", onChange: (n) => change({ channels: GH_CHANNELS[n] }) });
  const kernels = obSlider({ name: "kernel_size", label: "kernel size k", onChange: (n) => change({ kernel_size: GH_KERNELS[n] }) });
  const pick = (name) => (n) => change({ [name]: divisors(model.get("value").channels)[n] });
  const inGroups = obSlider({ name: "groups", label: "groups G", onChange: pick("groups") });
  const inHeads = obSlider({ name: "heads", label: "heads H", onChange: pick("heads") });
  const followed = obSlider({ name: "channel", label: "channel", onChange: (n) => change({ channel: n }) });
  const reset = obButton("Reset", "", () => change(model.get("start")), "ob-button ob-reset");
  controls.append(inGroups.element, inHeads.element, kernels.element, followed.element, sizes.element, reset);

  const valid = (value) => {
    const channels = obNearest(GH_CHANNELS, value.channels, 8);
    return {
      channels, kernel_size: obNearest(GH_KERNELS, value.kernel_size, 7),
      groups: obNearest(divisors(channels), value.groups), heads: obNearest(divisors(channels), value.heads),
      channel: obWhole(value.channel, 0, channels - 1),
    };
  };
  const stop = obState(model, valid, show);
  el.replaceChildren(card);
  return stop;
}

export default { render };
