// The data, what is chosen, and the few helpers that everything else is made of. Text from the data
// only ever becomes text nodes and attributes, never markup.

const page = JSON.parse(document.getElementById("document").textContent);
const chosen = { one: 0, two: null };
const find = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A name from the data, kept apart from the writing direction of what stands around it.
const named = (text) => element("bdi", {}, text);

const resultOne = () => page.results[chosen.one];
const resultTwo = () => (chosen.two === null ? null : page.results[chosen.two]);

// The method where that tells the two chosen results apart, else which of the two it is.
function shortName(result) {
  const [one, two] = [resultOne(), resultTwo()];
  if (!two || one.method !== two.method) return result.method;
  return result === one ? "shown" : "compared";
}

const classesOf = (result) => page.classes[result.classes];
const percent = (value, digits = 1) =>
  value === null ? "–" : `${value.toFixed(digits)}\u00a0%`;
const share = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)}\u00a0%`);
const signed = (value) => (value === null ? "–" : `${value > 0 ? "+" : ""}${value.toFixed(1)}`);
const scoreText = (result, value) =>
  value === null ? "–" : result.multiLabel ? value.toFixed(2) : share(value);
const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// Shows a part, or the sentence that says why there is none.
function available(section, part) {
  const why = part && part.why;
  find(`${section}-why`).textContent = why || "";
  find(`${section}-why`).hidden = !why;
  find(`${section}-body`).hidden = Boolean(why);
  return !why;
}

function options(select, entries, value) {
  select.replaceChildren(
    ...entries.map(([key, text]) => element("option", { value: key }, text)),
  );
  select.value = value;
}

// Options for the classes that occur, in alphabetical order, with "all" in front.
function classOptions(select, result, indices) {
  const names = classesOf(result);
  const before = select.value;
  const entries = [...new Set(indices)]
    .map((index) => [String(index), names[index]])
    .sort((a, b) => a[1].localeCompare(b[1]));
  const kept = entries.some(([key]) => key === before) ? before : "";
  options(select, [["", "all"], ...entries], kept);
}

function meter(value, which) {
  const filled = element("i", { className: which });
  filled.style.width = `${Math.max(0, Math.min(100, value))}%`;
  return element("span", { className: "meter", "aria-hidden": "true" }, filled);
}
