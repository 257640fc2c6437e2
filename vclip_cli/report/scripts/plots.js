// Plotly travels compressed inside the page; it is unpacked once, and run as a script whose hash the
// page's policy names. Where that fails the tables still tell everything.

async function unpackPlotly() {
  const packed = Uint8Array.from(atob(find("plotly").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  script.remove();
  find("plotly").remove();
}

// Only these buttons: Plotly's own choice holds one that sends the chart to a server.
const plotSettings = {
  displaylogo: false,
  responsive: true,
  scrollZoom: false,
  modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

// Plotly reads a little markup out of labels: names must not become links or tags there.
const label = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const short = (text, length = 24) =>
  label(text.length > length ? `${text.slice(0, length - 1)}…` : text);

function layout(more) {
  const axis = {
    gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"),
    tickcolor: colour("line"), automargin: true, showline: false, ticks: "",
  };
  const made = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
    margin: { l: 8, r: 8, t: 8, b: 8 },
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("muted"),
      font: { color: colour("text") } },
    showlegend: false,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("text") },
    ...more,
  };
  for (const name of Object.keys(made).filter((key) => /^[xy]axis/.test(key))) {
    made[name] = { ...axis, ...made[name] };
  }
  return made;
}

async function draw(place, traces, more, description) {
  if (!window.Plotly) {
    place.textContent = "This browser cannot unpack the plots; the tables hold their numbers.";
    return;
  }
  await Plotly.react(place, traces, layout(more), plotSettings);
  const picture = place.querySelector(".main-svg");
  if (picture) {
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", description);
  }
}

// Every n-th of the labels, so that those within the range do not overlap.
function ticks(names, pixels, range = null, length = 24) {
  const [low, high] = range
    ? [Math.max(0, Math.ceil(Math.min(...range))),
       Math.min(names.length - 1, Math.floor(Math.max(...range)))]
    : [0, names.length - 1];
  const step = Math.max(1, Math.ceil(((high - low + 1) * 14) / pixels));
  const values = [];
  for (let index = low; index <= high; index += step) values.push(index);
  return { tickmode: "array", tickvals: values, ticktext: values.map((i) => short(names[i], length)) };
}
