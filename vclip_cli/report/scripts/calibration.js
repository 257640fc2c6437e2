// Reliability: accuracy against confidence, the number of clips, and the expected error.

const binOrder = { column: 0, descending: false };

function calibrationTraces(result, which, name, together) {
  const bins = result.calibration.bins;
  const full = bins.filter((bin) => bin.videos);
  const total = bins.reduce((sum, bin) => sum + bin.videos, 0);
  const width = 0.9 / bins.length / together;
  return [
    { type: "scatter", mode: "lines+markers", name: label(name), cliponaxis: false,
      x: full.map((bin) => bin.confidence), y: full.map((bin) => bin.accuracy),
      customdata: full.map((bin) => bin.videos), line: { color: colour(which), width: 2 },
      marker: { size: 7, symbol: which === "one" ? "circle" : "square" },
      hovertemplate: "confidence %{x:.2f}<br>accuracy %{y:.2f}<br>%{customdata} videos<extra></extra>" },
    { type: "bar", yaxis: "y2", showlegend: false, width,
      offset: together === 1 ? -width / 2 : which === "one" ? -width : 0,
      x: bins.map((bin) => (bin.low + bin.high) / 2),
      y: bins.map((bin) => (100 * bin.videos) / total), customdata: bins.map((bin) => bin.videos),
      marker: { color: colour(which) },
      hovertemplate: "%{customdata} videos, %{y:.1f} %<extra></extra>" },
  ];
}

function showCalibration() {
  const [one, two] = [resultOne(), resultTwo()];
  if (!available("calibration", one.calibration)) return;
  const both = two && !two.calibration.why;
  const said = ({ calibration }) =>
    `ECE ${(100 * calibration.error).toFixed(1)} points; mean confidence ` +
    `${share(calibration.confidence)}, accuracy ${share(calibration.accuracy)}`;
  find("calibration-summary").textContent = `Expected calibration error (ECE) over ` +
    `${one.calibration.bins.length} bins of equal width. ${shortName(one)}: ${said(one)}.` +
    (both ? ` ${shortName(two)}: ${said(two)}.` : "");
  draw(find("calibration-plot"), [
    { type: "scatter", mode: "lines", x: [0, 1], y: [0, 1], hoverinfo: "skip", showlegend: false,
      line: { color: colour("muted"), dash: "dot", width: 1 } },
    ...calibrationTraces(one, "one", one.name, both ? 2 : 1),
    ...(both ? calibrationTraces(two, "two", two.name, 2) : []),
  ], {
    height: 440, showlegend: Boolean(both), barmode: "overlay",
    legend: { orientation: "h", yanchor: "bottom", y: 1.03, x: 0 },
    xaxis: { range: [0, 1], title: { text: "probability of the best class" }, zeroline: false,
      anchor: "y2" },
    yaxis: { range: [0, 1.02], domain: [0.34, 1], title: { text: "accuracy" }, zeroline: false },
    yaxis2: { domain: [0, 0.24], title: { text: "% of videos" }, zeroline: false },
  }, `Reliability diagram: ${said(one)}`);
  sortedTable(find("calibration-table"), `Bins of ${one.name}`, [
    { title: "Confidence above", number: true, value: (bin) => bin.low,
      show: (bin) => bin.low.toFixed(3) },
    { title: "up to", number: true, value: (bin) => bin.high, show: (bin) => bin.high.toFixed(3) },
    { title: "Videos", number: true, value: (bin) => bin.videos, show: (bin) => String(bin.videos) },
    { title: "Mean confidence", number: true, value: (bin) => bin.confidence,
      show: (bin) => share(bin.confidence) },
    { title: "Accuracy", number: true, value: (bin) => bin.accuracy,
      show: (bin) => share(bin.accuracy) },
  ], one.calibration.bins, binOrder);
}
