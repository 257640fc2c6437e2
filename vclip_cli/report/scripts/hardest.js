// The clips that a model finds hardest, and those on which it is most sure of the wrong class.

function hardestPlaces(result) {
  const kind = document.querySelector("input[name=kind]:checked").value;
  return result.clips[kind];
}

function showHardest() {
  const result = resultOne();
  if (!available("hardest", result.clips)) return;
  find("hardest-low").textContent =
    result.multiLabel ? "Worst ranking of the labels" : "Least probable truth";
  const places = hardestPlaces(result);
  classOptions(find("hardest-class"), result, places.flatMap((place) => result.clips.truth[place]));
  const only = find("hardest-class").value;
  const shown = places.filter((place) =>
    only === "" || result.clips.truth[place].includes(Number(only)));
  find("hardest-count").textContent = shown.length
    ? `${shown.length} of ${count(result.scored, "video", "videos")}` : "no video";
  find("hardest-list").replaceChildren(...shown.map((place) => clipCard(result, place, true)));
}

find("hardest-kind").addEventListener("change", showHardest);
find("hardest-class").addEventListener("input", showHardest);
