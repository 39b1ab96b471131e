// Drawing: the days of every camera, and the minutes of one day. Causes differ by pattern as well as by colour.
import { cause, clock, dayOf, dayWords, instant, lasts, nextDay, say, share } from "./recordings-words.js";

const SVG = "http://www.w3.org/2000/svg";
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const SEAM_MS = 1200; // what the ledger takes for one recording
export const CAUSES = ["camera", "network", "gateway", "store"];

export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}
function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function legend(list, kinds) {
  list.replaceChildren(...kinds.map((kind) => element("li", {}, element("i", { class: "swatch " + kind }), cause(kind))));
}

// ---- the overview

// What one day's cell shows: what is kept from below, what is missing above it by cause, each at least visible.
function portions(day) {
  if (day.coverage === null) return day.covered_s ? [["kept", 1]] : [["none", 1]];
  const whole = Math.max(day.expected_s, day.covered_s);
  const gaps = Object.entries(day.gaps).filter(([, seconds]) => seconds >= SEAM_MS / 1000);
  const told = gaps.reduce((sum, [, seconds]) => sum + seconds, 0);
  const rest = whole - day.covered_s - told; // just being written, or gone
  const missing = gaps.map(([name, seconds]) => [name, Math.max(0.12, seconds / whole)]);
  if (rest > Math.max(300, whole * 0.01)) missing.push([told ? "expired" : "none", Math.max(0.12, rest / whole)]);
  const above = missing.reduce((sum, [, part]) => sum + part, 0);
  const kept = Math.max(day.covered_s ? 0.08 : 0, 1 - above);
  return [...missing.map(([name, part]) => [name, (part / above) * (1 - kept)]), ["kept", kept]];
}

function held(holds, camera, day) {
  const from = Date.parse(day.from), to = Date.parse(day.to);
  return holds.some((hold) => (!hold.camera || hold.camera === camera.id) && hold.from < to && hold.to > from);
}

function cellWords(camera, day, isHeld) {
  const gaps = Object.entries(day.gaps).filter(([, seconds]) => seconds >= 1).map(([name, seconds]) => `${cause(name)} ${lasts(seconds)}`);
  const kept = day.coverage === null ? (day.covered_s ? lasts(day.covered_s) : cause("none")) : share(day.coverage);
  return [say("cell", dayWords(day.day), kept), ...gaps, ...(isHeld ? [cause("held")] : [])].join(" · ");
}

function cell(camera, day, holds, open) {
  const isHeld = held(holds, camera, day);
  const button = element("button", { type: "button", class: "cell" + (isHeld ? " held" : ""), tabindex: "-1" });
  for (const [kind, part] of portions(day)) {
    const bar = element("i", { class: kind });
    bar.style.flexGrow = String(part);
    if (part > 0) button.append(bar);
  }
  const words = cellWords(camera, day, isHeld);
  button.setAttribute("aria-label", `${camera.name} ${words}`);
  button.dataset.tip = words;
  button.dataset.day = day.day;
  button.addEventListener("click", () => open(camera.id, day.day));
  return button;
}

export function drawCameras(place, found, holds, open) {
  const rows = found.cameras.map((camera) => {
    const cells = element("div", { class: "cells", role: "group", "aria-label": camera.name }, ...camera.days.map((day) => cell(camera, day, holds, open)));
    cells.lastElementChild?.setAttribute("tabindex", "0");
    const kept = camera.first_kept ? say("firstKept", `${dayWords(dayOf(new Date(camera.first_kept)))} ${clock(new Date(camera.first_kept), false)}`) : say("nothingKept");
    const expected = camera.days.reduce((sum, day) => sum + day.expected_s, 0);
    const covered = camera.days.reduce((sum, day) => sum + Math.min(day.covered_s, day.expected_s), 0);
    return element("div", { class: "camera" },
      element("div", { class: "label" }, element("strong", {}, camera.name),
        element("span", { class: "quiet" }, kept + (camera.in_plan ? "" : " · " + say("left")))),
      cells,
      element("span", { class: "sum" }, expected ? share(covered / expected) : "–"));
  });
  const days = found.cameras[0]?.days ?? [];
  const every = (days.length > 45 ? 10 : 5) * (innerWidth < 760 ? 2 : 1);
  const axis = element("div", { class: "cells axis", "aria-hidden": "true" }, ...days.map((day, at) =>
    element("span", {}, ...((days.length - 1 - at) % every === 0 ? [element("b", {}, dayWords(day.day))] : []))));
  place.className = days.length > 45 ? "many" : "";
  place.replaceChildren(...rows, element("div", { class: "camera" }, element("div", { class: "label" }), axis, element("span", { class: "sum" })));
}

// One tab stop a camera; arrows go through days and cameras.
export function moveInCameras(place, event) {
  const here = event.target.closest(".cell");
  if (!here) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  const row = [...here.parentElement.children];
  const at = row.indexOf(here);
  let next = null;
  if (event.key in steps) next = row[Math.min(row.length - 1, Math.max(0, at + steps[event.key]))];
  else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    const rows = [...place.querySelectorAll(".cells:not(.axis)")];
    next = rows[rows.indexOf(here.parentElement) + (event.key === "ArrowUp" ? -1 : 1)]?.children[at];
  }
  if (!next) return;
  event.preventDefault();
  here.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

// ---- one day

// The day as spans [from, to, kind, detail] in order: kept, gaps, and the rest named for what it is.
export function spansOf(found, day, now) {
  const begin = instant(day), end = instant(nextDay(day));
  const inside = (from, to) => [Math.max(from, begin), Math.min(to, end)];
  const spans = [];
  for (const one of found.segments) {
    const [from, to] = inside(Date.parse(one.from), Date.parse(one.to));
    const kind = one.quality === "full" ? "kept" : "reduced";
    const last = spans[spans.length - 1];
    if (last && last.kind === kind && from - last.to <= SEAM_MS) last.to = Math.max(last.to, to);
    else if (to > from) spans.push({ from, to, kind });
  }
  for (const gap of found.gaps) {
    const [from, to] = inside(Date.parse(gap.from), gap.to ? Date.parse(gap.to) : now);
    if (to > from) spans.push({ from, to, kind: gap.cause, detail: gap.detail, lasting: !gap.to, gap: true });
  }
  spans.sort((a, b) => a.from - b.from);
  const since = Date.parse(found.recorded_since), until = found.recorded_until ? Date.parse(found.recorded_until) : Infinity;
  const all = [];
  let at = begin;
  const rest = (from, to) => {
    for (const [a, b, kind] of [[from, Math.min(to, since), "none"], [Math.max(from, since), Math.min(to, now, until), "expired"], [Math.max(from, Math.min(now, until)), to, "none"]]) {
      // The newest files are still being written; more than some minutes of it is not that.
      if (b - a > SEAM_MS) all.push({ from: a, to: b, kind: kind === "expired" ? unknown(found, a, b, now) : kind });
    }
  };
  for (const span of spans) {
    if (span.from - at > 0) rest(at, span.from);
    all.push(span);
    at = Math.max(at, span.to);
  }
  if (at < end) rest(at, end);
  return { begin, end, spans: all };
}
function unknown(found, from, to, now) {
  if (now - to < 5 * MINUTE_MS && now - from < 15 * MINUTE_MS) return "pending";
  const first = found.segments.length ? Date.parse(found.segments[0].from) : Infinity;
  return to <= first ? "expired" : "unaccounted";
}

function patterns() {
  const lines = { camera: "M0 6 L6 0", network: "M0 0 L6 6 M0 6 L6 0", gateway: "M3 0 V6", store: "M0 3 H6", unaccounted: "M0 0 L6 6" };
  const defs = shape("defs", {});
  for (const [kind, path] of Object.entries(lines)) {
    const pattern = shape("pattern", { id: "p-" + kind, width: 6, height: 6, patternUnits: "userSpaceOnUse" });
    pattern.append(shape("rect", { width: 6, height: 6, class: "fill-" + kind }), shape("path", { d: path, class: "hatch" }));
    defs.append(pattern);
  }
  return defs;
}

function drawn(width, height, from, to, spans) {
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(patterns());
  const x = (at) => ((at - from) / (to - from)) * width;
  for (const span of [...spans].sort((a, b) => Number(a.gap ?? false) - Number(b.gap ?? false))) {
    if (span.to <= from || span.from >= to) continue;
    const left = x(Math.max(span.from, from)), right = x(Math.min(span.to, to));
    const patterned = span.gap || span.kind === "unaccounted";
    // Seconds of either have to be seen on a strip of a day; a gap lies above what is beside it.
    const least = span.gap ? 2.5 : span.kind === "kept" ? 1.5 : 0;
    svg.append(shape("rect", {
      x: left, y: 0, width: Math.max(least, right - left), height,
      ...(patterned ? { fill: `url(#p-${span.kind})` } : { class: "fill-" + span.kind }),
    }));
  }
  return svg;
}

export function drawDay(place, day, holds) {
  const width = Math.max(320, place.clientWidth), ticks = width < 600 ? 6 : 2;
  const marks = element("div", { class: "ticks", "aria-hidden": "true" });
  for (let hour = 0; hour <= 24; hour += ticks) {
    const mark = element("span", {}, String(hour).padStart(2, "0") + ":00");
    mark.style.left = (hour / 24) * 100 + "%";
    marks.append(mark);
  }
  const over = element("div", { class: "holds", "aria-hidden": "true" });
  for (const hold of holds) {
    const from = Math.max(hold.from, day.begin), to = Math.min(hold.to, day.end);
    if (to <= from) continue;
    const bar = element("i", {});
    bar.style.left = ((from - day.begin) / DAY_MS) * 100 + "%";
    bar.style.width = ((to - from) / DAY_MS) * 100 + "%";
    over.append(bar);
  }
  const board = element("div", { class: "board" }, drawn(width, 56, day.begin, day.end, day.spans), over, element("i", { class: "cursor" }));
  place.replaceChildren(board, marks);
}

// The hour around the cursor, minute by minute, wide enough for a finger.
export function drawHour(place, day, at) {
  const from = day.begin + Math.floor((at - day.begin) / 3_600_000) * 3_600_000, to = from + 3_600_000;
  const marks = element("div", { class: "ticks", "aria-hidden": "true" });
  for (let minute = 0; minute <= 60; minute += 10) {
    const mark = element("span", {}, clock(new Date(from + minute * MINUTE_MS), false));
    mark.style.left = (minute / 60) * 100 + "%";
    marks.append(mark);
  }
  const board = element("div", { class: "board" }, drawn(Math.max(320, place.clientWidth), 36, from, to, day.spans), element("i", { class: "cursor" }));
  place.replaceChildren(board, marks);
  place.dataset.from = from;
}

export function placeCursor(place, part) {
  const cursor = place.querySelector(".cursor");
  if (!cursor) return;
  cursor.hidden = !(part >= 0 && part <= 1);
  cursor.style.left = part * 100 + "%";
}

// What lies at an instant, in words: for hover, for focus and for a screen reader. A gap within the minute counts before the rest.
export function told(day, at) {
  const to = at + MINUTE_MS;
  const touched = day.spans.filter((span) => span.from < to && span.to > at);
  const span = touched.find((one) => one.gap) ?? touched[0];
  if (!span) return clock(new Date(at), false);
  const words = [clock(new Date(at), false), cause(span.kind)];
  if (span.gap) words.push(`${clock(new Date(span.from))}–${span.lasting ? say("lasting") : clock(new Date(span.to))}`, ...(span.detail ? [span.detail] : []));
  return words.join(" · ");
}
