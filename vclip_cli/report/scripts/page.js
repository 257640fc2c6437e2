// The two pickers, and everything that hangs on them.

function fillPickers() {
  options(find("one"), page.results.map((result, index) => [String(index), result.name]),
    String(chosen.one));
  const others = resultOne().comparable;
  if (!others.includes(chosen.two)) chosen.two = null;
  const names = others.map((index) => [String(index), page.results[index].name]);
  options(find("two"), [["", others.length ? "nothing" : "nothing fits"], ...names],
    chosen.two === null ? "" : String(chosen.two));
  find("two").disabled = !others.length;
}

function showEverything() {
  showClasses();
  showConfusion();
  showMap();
  showHardest();
  showAttention();
  showCalibration();
}

find("pickers").addEventListener("input", () => {
  chosen.one = Number(find("one").value);
  chosen.two = find("two").value === "" ? null : Number(find("two").value);
  fillPickers();
  showEverything();
});
find("pickers").addEventListener("submit", (event) => event.preventDefault());
themeChanged.push(showEverything);

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed here";
    }
  });
}

chosen.two = resultOne().comparable[0] ?? null;
fillPickers();
unpackPlotly()
  .catch((error) => console.warn("the plots could not be unpacked:", error))
  .then(() => {
    showEverything();
    document.documentElement.dataset.ready = "yes";
  });
