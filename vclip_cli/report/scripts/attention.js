// Attention of the image tower's last block, laid over the frames that the model saw.

const attentionOf = () => resultOne().attention.clips[Number(find("attention-clip").value)];

function heat(canvas, levels, rows, columns) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  levels.forEach((level, index) => {
    image.data.set([255, 96, 0, Math.round(230 * Math.sqrt(level / 255))], 4 * index);
  });
  context.putImageData(image, 0, 0);
}

function attentionFrame(entry, strip, levels, position) {
  const [, rows, columns] = entry.shape;
  const size = rows * columns;
  const frame = strip.frames[position];
  const own = levels.subarray(frame * size, (frame + 1) * size);
  const picture = element("div", { className: "picture", role: "img" });
  picture.style.backgroundImage = `url("${sourceOf(strip)}")`;
  picture.style.backgroundSize = `${100 * strip.frames.length}% 100%`;
  picture.style.backgroundPosition =
    `${strip.frames.length > 1 ? (100 * position) / (strip.frames.length - 1) : 0}% 0`;
  const strongest = own.indexOf(Math.max(...own));
  const patches = 1 - entry.cls[frame] - entry.own[frame];
  picture.setAttribute("aria-label",
    `Frame ${frame + 1}: ${share(patches)} of the attention goes to patches, most to row ` +
    `${Math.floor(strongest / columns) + 1} of ${rows}, column ${(strongest % columns) + 1} of ` +
    `${columns}`);
  if (find("attention-heat").checked) {
    const canvas = element("canvas", { "aria-hidden": "true" });
    heat(canvas, own, rows, columns);
    picture.append(canvas);
  }
  return element("figure", { className: "frame" }, picture,
    element("figcaption", {}, `frame ${frame + 1}`));
}

// Where the attention of the CLS tokens goes, on average over the frames of the clip.
function attentionSummary(entry) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [cls, own] = [mean(entry.cls), mean(entry.own)];
  const added = own > 0 ? `, ${share(own)} to tokens that the method adds` : "";
  return `On average over ${entry.shape[0]} frames, ${share(1 - cls - own)} of the CLS token's ` +
    `attention goes to patches, ${share(cls)} to itself${added}.`;
}

function showTemporal(entry) {
  const place = find("attention-temporal");
  const heading = element("h3", {}, "Attention between frames");
  if (!entry.temporal.length) {
    place.replaceChildren(heading, element("p", { className: "why" },
      `No module of ${resultOne().method} outside CLIP's own towers attends over the frames, so ` +
      "there are no weights between frames to show."));
    return;
  }
  const plots = entry.temporal.map((part) => {
    const plot = element("div", { className: "plot" });
    const total = part.weights.length;
    const mean = part.weights[0].map((_, column) =>
      part.weights.reduce((sum, row) => sum + row[column], 0) / total);
    const looked = mean.indexOf(Math.max(...mean));
    return { part, plot, total, figure: element("figure", {}, plot,
      element("figcaption", { className: "muted" }, named(part.module),
        `: rows look at columns, averaged over heads. Frame ${looked + 1} is looked at most, ` +
        `${share(mean[looked])} on average; evenly would be ${share(1 / total)}.`)) };
  });
  place.replaceChildren(heading,
    element("div", { className: "temporal" }, ...plots.map((entry) => entry.figure)));
  for (const { part, plot, total } of plots) {
    const numbers = Array.from({ length: total }, (_, index) => index + 1);
    draw(plot, [{
      type: "heatmap", z: part.weights, x: numbers, y: numbers, xgap: 1, ygap: 1, zmin: 0,
      colorscale: [[0, colour("soft")], [1, colour("one")]],
      hovertemplate: "frame %{y} looks at frame %{x}: %{z:.3f}<extra></extra>",
      colorbar: { thickness: 10, outlinewidth: 0, len: 0.8 },
    }], {
      height: 300,
      xaxis: { title: { text: "frame looked at" }, dtick: Math.ceil(total / 16), showgrid: false },
      yaxis: { title: { text: "frame" }, dtick: Math.ceil(total / 16), autorange: "reversed",
        showgrid: false },
    }, `Attention between ${total} frames in ${part.module}`);
  }
}

function showAttentionClip() {
  const result = resultOne();
  const entry = attentionOf();
  const place = placeOf(result, entry.clip);
  const card = clipCard(result, place, true, "div");
  card.querySelector("img, .no-frames")?.remove();
  find("attention-card").replaceChildren(card);
  const strip = entry.strip || page.focus[entry.clip];
  if (strip) {
    const levels = Uint8Array.from(atob(entry.patches), (c) => c.charCodeAt(0));
    find("attention-frames").replaceChildren(...strip.frames.map((_, position) =>
      attentionFrame(entry, strip, levels, position)));
  } else {
    find("attention-frames").replaceChildren(
      element("p", { className: "why" }, page.noFrames || "This page has no frames of this video."));
  }
  find("attention-summary").textContent = attentionSummary(entry);
  showTemporal(entry);
}

function showAttention() {
  const result = resultOne();
  if (!available("attention", result.attention)) return;
  const entries = result.attention.clips.map(({ clip }, index) => {
    const place = placeOf(result, clip);
    const mark = isRight(result, place) ? "✓" : "✗";
    const truth = classNames(result, result.clips.truth[place]);
    return [String(index), `${mark} ${truth} – ${page.clips[clip]}`];
  });
  options(find("attention-clip"), entries, "0");
  showAttentionClip();
}

find("attention-clip").addEventListener("input", showAttentionClip);
find("attention-heat").addEventListener("input", showAttentionClip);
