// Per-class values: bars from best to worst, and a table that sorts by any column.

const classOrder = { column: 2, descending: false };

function classRows() {
  const [one, two] = [resultOne(), resultTwo()];
  return classesOf(one).map((name, index) => {
    const [a, b] = [one.perClass.values[index], two ? two.perClass.values[index] : null];
    return {
      name, n: one.perClass.n[index], one: a, two: b,
      difference: a === null || b === null ? null : a - b,
    };
  });
}

const measureOf = (result) =>
  result.perClass.metric === "top1" ? "accuracy" : result.perClass.metric.replaceAll("_", " ");

function classTable(rows) {
  const two = resultTwo();
  const bar = (value, which) =>
    value === null ? "–" : element("span", {}, value.toFixed(1), meter(value, which));
  const measure = measureOf(resultOne());
  const columns = [
    { title: "Class", value: (row) => row.name, show: (row) => named(row.name) },
    { title: "Videos", number: true, value: (row) => row.n, show: (row) => String(row.n),
      first: "descending" },
    { title: two ? `${shortName(resultOne())}, ${measure} (%)` : `${measure} (%)`, number: true,
      value: (row) => row.one, show: (row) => bar(row.one, "one"), first: "descending" },
  ];
  if (two) {
    columns.push(
      { title: `${shortName(two)}, ${measure} (%)`, number: true, value: (row) => row.two,
        show: (row) => bar(row.two, "two"), first: "descending" },
      { title: "Difference", number: true, value: (row) => row.difference, first: "descending",
        show: (row) => element("span",
          { className: row.difference > 0 ? "up" : row.difference < 0 ? "down" : "" },
          signed(row.difference)) },
    );
  }
  if (classOrder.column >= columns.length) classOrder.column = 2;
  const caption = `${resultOne().name}${two ? `, compared with ${two.name}` : ""}: every class`;
  sortedTable(find("classes-table"), caption, columns, rows, classOrder);
}

function filterClasses() {
  const wanted = find("classes-filter").value.trim().toLowerCase();
  const all = classRows();
  const rows = all.filter((row) => row.name.toLowerCase().includes(wanted));
  find("classes-count").textContent = wanted ? `${rows.length} of ${all.length} classes` : "";
  classTable(rows);
}

function classSummary(rows) {
  const [one, two] = [resultOne(), resultTwo()];
  const known = rows.filter((row) => row.one !== null).sort((a, b) => b.one - a.one);
  const measure = measureOf(one);
  const parts = [];
  if (known.length) {
    const [best, worst] = [known[0], known.at(-1)];
    parts.push(`${count(known.length, "class", "classes")} with videos; ${measure} from `,
      `${percent(worst.one)} (`, named(worst.name), `) to ${percent(best.one)} (`,
      named(best.name), "). ");
  }
  if (two) {
    const apart = rows.filter((row) => row.difference !== null);
    const better = apart.filter((row) => row.difference > 0).length;
    const worse = apart.filter((row) => row.difference < 0).length;
    parts.push(`Against ${two.name} it is better on ${better}, worse on ${worse}, equal on ` +
      `${apart.length - better - worse} classes. `, sameClips(one, two));
  }
  find("classes-summary").replaceChildren(...parts);
}

// How two results agree clip by clip, where both scored the same videos.
function sameClips(one, two) {
  const [a, b] = [one.clips, two.clips];
  if (one.multiLabel || !a.right || !b.right || a.videos !== b.videos) return "";
  const counts = { 11: 0, 10: 0, "01": 0, "00": 0 };
  for (let index = 0; index < a.right.length; index++) counts[a.right[index] + b.right[index]]++;
  return `Of ${a.right.length.toLocaleString("en")} videos both are right on ${counts[11]}, only ` +
    `${shortName(one)} on ${counts[10]}, only ${shortName(two)} on ${counts["01"]}, neither on ` +
    `${counts["00"]}.`;
}

function plotClasses(rows) {
  const [one, two] = [resultOne(), resultTwo()];
  const key = two ? "difference" : "one";
  const known = rows.filter((row) => row[key] !== null).sort((a, b) => b[key] - a[key]);
  const names = known.map((row) => row.name);
  const place = find("classes-plot");
  const values = known.map((row) => row[key]);
  const trace = {
    type: "bar",
    x: names.map((_, index) => index),
    y: values,
    marker: { color: values.map((value) => colour(value < 0 ? "two" : "one")) },
    customdata: names.map(label),
    hovertemplate: two
      ? "%{customdata}<br>difference %{y:+.1f} points<extra></extra>"
      : "%{customdata}<br>%{y:.1f} %<extra></extra>",
  };
  const width = place.clientWidth || 300;
  const wide = width > 560;
  const measure = measureOf(one);
  find("classes-caption").textContent = two
    ? `Difference in ${measure}, ${shortName(one)} minus ${shortName(two)}, in points; one bar a ` +
      "class, sorted."
    : `The ${measure} of every class, in %, sorted.`;
  draw(place, [trace], {
    height: wide ? 340 : 220, bargap: 0.15,
    xaxis: { ...ticks(names, width, null, 18), tickangle: -60, showgrid: false,
      showticklabels: wide },
    yaxis: two ? { title: { text: "points" } } : { range: [0, 100], ticksuffix: " %" },
  }, `Bars of ${names.length} classes; the table below holds the numbers.`);
}

function showClasses() {
  const rows = classRows();
  classSummary(rows);
  plotClasses(rows);
  filterClasses();
}

find("classes-filter").addEventListener("input", filterClasses);
