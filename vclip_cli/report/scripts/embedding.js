// The map of the clips: hover, tap or arrow keys show the frames of a clip.

const mapView = { place: -1 };

// Colours far apart for neighbouring numbers; with many classes they repeat in other shapes.
const symbols = ["circle", "square", "diamond", "triangle-up", "cross"];
function classColour(index) {
  const lightness = isDark() ? [70, 60, 80] : [42, 52, 33];
  return `hsl(${(index * 137.508) % 360}, ${index % 2 ? 55 : 75}%, ${lightness[index % 3]}%)`;
}

function mapColours(result, places) {
  const kind = find("embedding-colour").value;
  const { truth, ease } = result.clips;
  if (kind === "right") {
    return places.map((place) => colour(isRight(result, place) ? "good" : "bad"));
  }
  if (kind === "ease") return places.map((place) => ease[place] ?? 0);
  return places.map((place) => classColour(truth[place][0] ?? 0));
}

function plotMap() {
  const result = resultOne();
  const { map, clips } = result;
  const only = find("embedding-class").value;
  const places = map.clip.map((clip) => placeOf(result, clip));
  const kind = find("embedding-colour").value;
  const among = (place) => only === "" || clips.truth[place].includes(Number(only));
  const trace = {
    type: "scatter", mode: "markers", x: map.x, y: map.y, hoverinfo: "none",
    marker: {
      color: mapColours(result, places),
      symbol: places.map((place) => kind === "right"
        ? (isRight(result, place) ? "circle" : "x")
        : kind === "class" ? symbols[(clips.truth[place][0] ?? 0) % symbols.length] : "circle"),
      size: places.map((place) => (among(place) ? 8 : 4)),
      opacity: places.map((place) => (among(place) ? 0.85 : 0.12)),
      line: { width: 0 },
      ...(kind === "ease" ? { colorscale: [[0, colour("two")], [1, colour("one")]],
        cmin: Math.min(...clips.ease.filter((v) => v !== null)),
        cmax: Math.max(...clips.ease.filter((v) => v !== null)), showscale: true,
        colorbar: { thickness: 10, outlinewidth: 0, len: 0.8 } } : {}),
    },
  };
  const ring = {
    type: "scatter", mode: "markers", hoverinfo: "skip",
    x: mapView.place < 0 ? [] : [map.x[mapView.place]],
    y: mapView.place < 0 ? [] : [map.y[mapView.place]],
    marker: { size: 17, color: "rgba(0,0,0,0)", line: { width: 2, color: colour("text") } },
  };
  const axis = { showticklabels: false, showgrid: false, zeroline: false, range: [-1.06, 1.06] };
  const place = find("embedding-plot");
  return draw(place, [trace, ring], {
    height: Math.min(560, Math.max(320, place.clientWidth || 320)), hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: { ...axis }, yaxis: { ...axis },
  }, `Map of ${map.clip.length} videos`).then(() => {
    if (!window.Plotly) return;
    place.removeAllListeners("plotly_hover");
    place.removeAllListeners("plotly_click");
    const show = ({ points }) => points[0].curveNumber === 0 && showPoint(points[0].pointNumber);
    place.on("plotly_hover", show);
    place.on("plotly_click", show);
  });
}

function showPoint(position) {
  const result = resultOne();
  mapView.place = position;
  const place = placeOf(result, result.map.clip[position]);
  find("embedding-clip").replaceChildren(clipCard(result, place, false, "div"));
  if (window.Plotly) {
    Plotly.restyle(find("embedding-plot"),
      { x: [[result.map.x[position]]], y: [[result.map.y[position]]] }, [1]);
  }
}

find("embedding-plot").addEventListener("keydown", (event) => {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const result = resultOne();
  if (!(event.key in steps) || result.map.why) return;
  event.preventDefault();
  const only = find("embedding-class").value;
  const total = result.map.clip.length;
  let next = mapView.place;
  for (let tried = 0; tried < total; tried++) {
    next = (next + steps[event.key] + total) % total;
    if (next < 0) next += total;
    const truth = result.clips.truth[placeOf(result, result.map.clip[next])];
    if (only === "" || truth.includes(Number(only))) break;
  }
  showPoint(next);
});

function showMap() {
  mapView.place = -1;
  find("embedding-clip").replaceChildren(
    element("p", { className: "muted" }, "No video is chosen yet."));
  const result = resultOne();
  if (!available("embedding", result.map)) return;
  classOptions(find("embedding-class"), result, result.clips.truth.flat());
  const { map } = result;
  const some = map.clip.length < map.of ? ` of ${map.of.toLocaleString("en")}` : "";
  find("embedding-summary").textContent =
    `${map.clip.length.toLocaleString("en")}${some} videos. The nearest neighbour of ` +
    `${share(map.neighbours)} of them, by the cosine of the whole vectors, has the same class.`;
  plotMap();
}

for (const id of ["embedding-colour", "embedding-class"]) find(id).addEventListener("input", plotMap);
