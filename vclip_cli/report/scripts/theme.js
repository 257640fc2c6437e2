// Light, dark, or as the system has it; plots are drawn anew in the other colours.

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const themeChanged = [];

find("theme").addEventListener("change", (event) => {
  document.documentElement.dataset.theme = event.target.value;
  themeChanged.forEach((call) => call());
});
systemDark.addEventListener("change", () => themeChanged.forEach((call) => call()));

const colour = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme === "auto" ? systemDark.matches : theme === "dark";
}
