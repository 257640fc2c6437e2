// The confusion matrix as a heat map that zooms and filters, and its largest entries as a table.

const pairOrder = { column: 2, descending: true };

const wrongPairs = (result) =>
  result.confusion.pairs.filter(([truth, best]) => truth !== best).sort((a, b) => b[2] - a[2]);

// The classes that the controls leave, and the pairs of them.
function confusionView() {
  const result = resultOne();
  const names = classesOf(result);
  const scope = find("confusion-scope").value;
  const wanted = find("confusion-filter").value.trim().toLowerCase();
  let pairs = wrongPairs(result);
  if (scope !== "all") pairs = pairs.slice(0, Number(scope));
  if (wanted) {
    pairs = pairs.filter((pair) =>
      pair.slice(0, 2).some((index) => names[index].toLowerCase().includes(wanted)));
  }
  const everything = scope === "all" && !wanted;
  const kept = new Set(everything ? names.keys() : pairs.flatMap(([a, b]) => [a, b]));
  if (wanted && scope === "all") {
    names.forEach((name, index) => name.toLowerCase().includes(wanted) && kept.add(index));
  }
  return { result, names, pairs, classes: [...kept].sort((a, b) => a - b) };
}

function plotConfusion(view) {
  const place = find("confusion-plot");
  const { classes } = view;
  const names = classes.map((index) => view.names[index]);
  if (!classes.length) {
    if (window.Plotly) Plotly.purge(place);
    place.replaceChildren(element("p", { className: "muted" }, "No confusion fits this filter."));
    return;
  }
  if (!place.classList.contains("js-plotly-plot")) place.replaceChildren();
  const at = new Map(classes.map((index, position) => [index, position]));
  const rowSum = new Map();
  view.result.confusion.pairs.forEach(([truth, , clips]) =>
    rowSum.set(truth, (rowSum.get(truth) || 0) + clips));
  const grid = classes.map(() => classes.map(() => 0));
  const clipsIn = classes.map(() => classes.map(() => 0));
  const hidden = find("confusion-diagonal").checked;
  for (const [truth, best, clips] of view.result.confusion.pairs) {
    if (!at.has(truth) || !at.has(best) || (hidden && truth === best)) continue;
    grid[at.get(truth)][at.get(best)] = (100 * clips) / rowSum.get(truth);
    clipsIn[at.get(truth)][at.get(best)] = clips;
  }
  const width = place.clientWidth || 320;
  const wide = width > 560;
  const height = Math.max(wide ? 360 : 280, Math.min(820, 180 + classes.length * 14, width + 40));
  const positions = classes.map((_, position) => position);
  const trace = {
    type: "heatmap", z: grid, x: positions, y: positions, customdata: clipsIn,
    text: grid.map((row, truth) => row.map((_, best) =>
      `true: ${label(names[truth])}<br>best: ${label(names[best])}`)),
    hovertemplate: "%{text}<br>%{customdata} videos, %{z:.1f} % of the true class<extra></extra>",
    colorscale: [[0, colour("soft")], [0.5, colour("one")], [1, colour("heat")]],
    zmin: 0, zmax: Math.max(1, ...grid.flat()), xgap: classes.length < 60 ? 1 : 0,
    ygap: classes.length < 60 ? 1 : 0,
    colorbar: { thickness: 10, ticksuffix: " %", outlinewidth: 0, len: 0.8 },
    showscale: wide,
  };
  const most = Math.min(130, width / 3.5);
  draw(place, [trace], {
    height,
    xaxis: { ...ticks(names, width - most), tickangle: -60, showgrid: false, zeroline: false,
      showticklabels: wide, title: { text: "best class" } },
    yaxis: { ...ticks(names, height - most, null, wide ? 24 : 16), autorange: "reversed",
      showgrid: false, zeroline: false, title: { text: "true class" } },
  }, `Confusion matrix of ${classes.length} classes; the table below holds its largest entries.`)
    .then(() => watchConfusion(place, names));
}

// Clicks show clips; zooming shows as many labels as there is room for.
function watchConfusion(place, names) {
  if (!window.Plotly) return;
  place.removeAllListeners("plotly_click");
  place.removeAllListeners("plotly_relayout");
  const view = confusionView();
  place.on("plotly_click", ({ points: [point] }) =>
    showPair(view.classes[point.y], view.classes[point.x]));
  place.on("plotly_relayout", (change) => {
    if (!Object.keys(change).some((key) => /^[xy]axis\.(range|autorange)/.test(key))) return;
    const { xaxis, yaxis } = place._fullLayout;
    const next = {};
    for (const [axis, set] of [["xaxis", xaxis], ["yaxis", yaxis]]) {
      const made = ticks(names, set._length, set.range);
      next[`${axis}.tickvals`] = made.tickvals;
      next[`${axis}.ticktext`] = made.ticktext;
    }
    Plotly.relayout(place, next);
  });
}

function pairTable(view) {
  const rows = view.pairs.slice(0, 200).map(([truth, best, clips]) => ({
    truth, best, clips,
    share: (100 * clips) / Math.max(1, view.result.perClass.n[truth]),
  }));
  const show = (row) => {
    const button = element("button", { type: "button", className: "link",
      "aria-label": `Videos of ${view.names[row.truth]} taken for ${view.names[row.best]}` },
      "show videos");
    button.addEventListener("click", () => showPair(row.truth, row.best, true));
    return button;
  };
  sortedTable(find("confusion-table"), "True classes and what they were taken for", [
    { title: "True class", value: (row) => view.names[row.truth],
      show: (row) => named(view.names[row.truth]) },
    { title: "Taken for", value: (row) => view.names[row.best],
      show: (row) => named(view.names[row.best]) },
    { title: "Videos", number: true, value: (row) => row.clips, show: (row) => String(row.clips),
      first: "descending" },
    { title: "Of the class", number: true, value: (row) => row.share, first: "descending",
      show: (row) => percent(row.share) },
    { title: "Look", show },
  ], rows, pairOrder);
  const wrong = wrongPairs(view.result).length;
  find("confusion-count").textContent =
    `${count(view.classes.length, "class", "classes")}, ` +
    `${view.pairs.length.toLocaleString("en")} of ${count(wrong, "pair", "pairs")}`;
}

function showPair(truth, best, move = false) {
  const result = resultOne();
  const names = classesOf(result);
  const places = [...result.clips.clip.keys()].filter((place) =>
    result.clips.truth[place][0] === truth && result.clips.best[place][0] === best);
  const total = result.confusion.pairs.find(([a, b]) => a === truth && b === best)?.[2] || 0;
  const shown = places.slice(0, 12);
  const heading = element("h3", { tabIndex: -1 }, named(names[truth]),
    truth === best ? ", right" : " taken for ", truth === best ? null : named(names[best]),
    `: ${shown.length} of ${count(total, "video", "videos")}`);
  find("confusion-clips").replaceChildren(heading,
    element("ol", { className: "cards" }, ...shown.map((place) => clipCard(result, place))));
  if (move) heading.focus();
}

function showConfusion() {
  find("confusion-clips").replaceChildren();
  if (!available("confusion", resultOne().confusion)) return;
  const view = confusionView();
  plotConfusion(view);
  pairTable(view);
}

for (const id of ["confusion-scope", "confusion-filter", "confusion-diagonal"]) {
  find(id).addEventListener("input", showConfusion);
}
