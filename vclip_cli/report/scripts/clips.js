// One clip as a card: its frames, its truth, its best classes with their scores.

const sourceOf = (strip) => `data:image/webp;base64,${strip.data}`;

function frames(clip, large) {
  const strip = (large && page.focus[clip]) || page.strips[clip] || page.focus[clip];
  if (!strip) {
    const why = page.noFrames || "This page has no frames of this video.";
    return element("p", { className: "no-frames muted" }, why);
  }
  const alt = `${strip.frames.length} frames of ${page.clips[clip]}, in order`;
  return element("img", { src: sourceOf(strip), alt });
}

const classNames = (result, indices) =>
  indices.map((index) => classesOf(result)[index]).join(", ") || "none";

// Where a clip of the page stands among the shown clips of a result, -1 where it is not shown.
function placeOf(result, clip) {
  if (!result.clips || result.clips.why) return -1;
  result.places ||= new Map(result.clips.clip.map((entry, place) => [entry, place]));
  return result.places.has(clip) ? result.places.get(clip) : -1;
}

const isRight = (result, place) =>
  result.clips.truth[place].includes(result.clips.best[place][0]);

function bestList(result, place) {
  const clips = result.clips;
  const scores = clips.scores[place];
  const [top, low] = [Math.max(...scores), result.multiLabel ? Math.min(...scores, 0) : 0];
  const lines = clips.best[place].map((index, rank) => {
    const width = result.multiLabel
      ? (100 * (scores[rank] - low)) / (top - low || 1)
      : 100 * scores[rank];
    const isTrue = clips.truth[place].includes(index);
    return element(
      "li",
      { className: isTrue ? "true" : "" },
      element("span", {}, named(classesOf(result)[index]),
        isTrue ? element("span", { className: "unseen" }, " (true)") : null),
      meter(width, "one"),
      element("span", { className: "number" }, scoreText(result, scores[rank])),
    );
  });
  return element("ol", { className: "best", "aria-label": "Best classes" }, ...lines);
}

function fact(name, value) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}

function clipCard(result, place, large = false, tag = "li") {
  const clips = result.clips;
  const clip = clips.clip[place];
  const ease = result.multiLabel ? "" : `, ${scoreText(result, clips.ease[place])}`;
  const truth = element("span", {}, named(classNames(result, clips.truth[place])), ease);
  const right = isRight(result, place);
  const facts = [
    fact("true", truth),
    fact(shortName(result), element("span", { className: right ? "mark-right" : "mark-wrong" },
      right ? "right ✓" : "wrong ✗")),
  ];
  const other = resultTwo();
  const there = other && result === resultOne() ? placeOf(other, clip) : -1;
  if (there >= 0) {
    const best = other.clips.best[there][0];
    const mark = isRight(other, there) ? "\u00a0✓" : "\u00a0✗";
    facts.push(
      fact(shortName(other), element("span", {}, named(classesOf(other)[best]),
        ` ${scoreText(other, other.clips.scores[there][0])}${mark}`)),
    );
  }
  return element(
    tag,
    { className: "card" },
    frames(clip, large),
    element("dl", {}, ...facts),
    bestList(result, place),
    element("p", { className: "id" }, named(page.clips[clip])),
  );
}
