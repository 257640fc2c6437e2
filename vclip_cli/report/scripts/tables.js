// Tables that sort by any column: a button in each header, the order told to screen readers.
// columns: {title, value(row) to sort by, if at all, show(row) for the cell, number: to the right,
// first: "descending"}

function sortedTable(place, caption, columns, rows, state) {
  const compare = (a, b) => {
    const [x, y] = [a, b].map(columns[state.column].value);
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return state.descending ? -order : order;
  };
  const head = columns.map((column, index) => {
    if (!column.value) return element("th", { scope: "col" }, column.title);
    const current = index === state.column;
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      state.descending = current ? !state.descending : column.first === "descending";
      state.column = index;
      sortedTable(place, caption, columns, rows, state);
      place.querySelectorAll("thead th")[index].querySelector("button").focus();
    });
    const order = current ? (state.descending ? "descending" : "ascending") : "none";
    return element(
      "th",
      { scope: "col", className: column.number ? "number" : "", "aria-sort": order },
      button,
    );
  });
  const lines = [...rows].sort(compare).map((row) =>
    element(
      "tr",
      {},
      ...columns.map((column, index) =>
        element(
          index ? "td" : "th",
          { scope: index ? null : "row", className: column.number ? "number" : "" },
          column.show(row),
        ),
      ),
    ),
  );
  const scrolled = place.querySelector(".scroll")?.scrollLeft || 0;
  const table = element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...lines),
  );
  const region = element(
    "div",
    { className: "scroll tall", role: "region", "aria-label": caption, tabIndex: 0 },
    table,
  );
  place.replaceChildren(region);
  region.scrollLeft = scrolled;
}
