// The recordings page: who looks and why, all cameras by days, one day by minutes.
import { ask, Problem, setReason, signIn, signOut, viewing, whenSignedOut, who } from "./recordings-asking.js";
import { Exporter } from "./recordings-exporting.js";
import { Player } from "./recordings-playing.js";
import { CAUSES, drawCameras, drawDay, drawHour, element, legend, moveInCameras, placeCursor, spansOf, told } from "./recordings-strips.js";
import { cause, clock, dayOf, dayWords, instant, isChinese, lasts, nextDay, say, setLanguage, setZone, share, size } from "./recordings-words.js";

const REFRESH_MS = 60_000;
const MINUTE_MS = 60_000;
const $ = (id) => document.getElementById(id);
const UPKEEP = ["technician", "inspector"];

let site = null;
let period = 30;
let days = null; // the overview as last read
let kept = null; // retention, where the role may read it
let holds = [];
let shown = null; // the day shown: { camera, day, found, spans, begin, end }
let cursor = 0;
let turn = 0;

const player = new Player(
  { video: $("video"), message: $("message"), clock: $("clock"), speed: $("speed"), further: $("further") },
  { moved: (at) => moveTo(at, false), gapsOf: () => shown?.spans.filter((span) => span.gap) ?? [], exports: () => UPKEEP.includes(who()?.role) },
);
const exporter = new Exporter($("export"), { known: () => shown ?? {}, cursor: () => cursor });

// ---- what is said at the top

function notice(words, kind = "") {
  $("notice").textContent = words;
  $("notice").dataset.kind = kind;
  $("notice").hidden = !words;
}
function failed(error) {
  if (error instanceof Problem && error.status === 401) signOut();
  notice(error instanceof Problem ? error.words : String(error), "error");
}
function sayState() {
  if (site?.degraded.length) notice(say("degraded", site.degraded.join(isChinese() ? "；" : "; ")), "degraded");
  else notice("");
}

// ---- signing in

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const typed = Object.fromEntries([...new FormData(event.target)].map(([key, value]) => [key, value.trim()]));
  signIn(typed);
  try {
    const caller = await ask("caller");
    if (caller.role === "centre") {
      signOut();
      notice(say("noneForRole"), "error");
      return;
    }
    signIn({ ...typed, role: caller.role });
    event.target.reset();
    await begin();
  } catch (error) {
    signOut();
    failed(error);
  }
});
$("sign-out").addEventListener("click", () => { location.hash = ""; signOut(); });
$("why").addEventListener("click", () => {
  $("reason-now").value = who().reason;
  $("reasons").showModal();
  $("reason-now").select();
});
$("reason-same").addEventListener("click", () => $("reasons").close());
$("reasons").addEventListener("submit", (event) => {
  event.preventDefault();
  const reason = $("reason-now").value.trim();
  if (reason.length < 2) return;
  setReason(reason);
  sayCaller();
  player.forget(); // what is played from now on is opened for the new reason
  $("reasons").close();
});
whenSignedOut(() => {
  turn++;
  site = days = kept = shown = null;
  holds = [];
  player.stop();
  $("reasons").close();
  for (const id of ["cameras", "sums", "strip", "hour", "gaps", "legend", "day-legend"]) $(id).replaceChildren();
  for (const id of ["school", "caller", "day-title", "day-sums", "told", "exported", "check"]) $(id).textContent = "";
  $("export").reset();
  notice("");
  view();
});

function sayCaller() {
  const me = who();
  $("school").textContent = site?.name ?? "";
  $("caller").textContent = me ? `${me.name} · ${me.unit} · ${say("roles." + me.role)}` : "";
  $("why").textContent = me ? say("why", me.reason) : "";
}

function view() {
  const me = who()?.role ? who() : null;
  $("sign-in").hidden = me !== null;
  $("overview").hidden = !me || shown !== null;
  $("day").hidden = !me || shown === null;
  $("sign-out").hidden = $("why").hidden = !me;
  $("export").hidden = !UPKEEP.includes(me?.role);
  $("no-export").hidden = UPKEEP.includes(me?.role);
  sayCaller();
}

async function begin() {
  site = await ask("site");
  setZone(site.timezone);
  period = site.retention_days > 60 ? 90 : 30;
  view();
  sayState();
  await Promise.all([readDays(), readUpkeep()]);
  await follow();
}

// ---- the overview

async function readDays() {
  const mine = turn;
  const from = instant(nextDay(dayOf(new Date()), 1 - period));
  try {
    const found = await ask("recordings/days", { query: { from: new Date(from).toISOString() } });
    if (mine !== turn) return;
    days = found;
  } catch (error) {
    failed(error);
  }
  drawOverview();
}
// What only technician and inspector may read; the days are shown without it.
async function readUpkeep() {
  if (!UPKEEP.includes(who().role)) return;
  const mine = turn;
  const [room, held] = await Promise.allSettled([ask("retention"), ask("holds")]);
  if (mine !== turn) return;
  kept = room.value ?? null;
  holds = (held.value?.holds ?? []).filter((hold) => hold.from).map((hold) => ({ camera: hold.camera, from: Date.parse(hold.from), to: Date.parse(hold.to) }));
  const wrong = room.reason ?? held.reason;
  if (wrong) failed(wrong);
  drawOverview();
}

function drawOverview() {
  $("period").replaceChildren(...[30, 90].map((count) => {
    const button = element("button", { type: "button", "aria-pressed": String(count === period) }, say("periodIs", count));
    button.addEventListener("click", () => { period = count; readDays(); });
    return button;
  }));
  legend($("legend"), ["kept", ...CAUSES, "expired", "none", ...(holds.length ? ["held"] : [])]);
  if (days) drawCameras($("cameras"), days, holds, (camera, day) => { location.hash = `${encodeURIComponent(camera)}/${day}`; });
  $("sums").replaceChildren(...sums().flatMap(([name, value, more, kind]) => [element("div", kind ? { class: kind } : {}, element("dt", {}, name), element("dd", {}, value), ...(more ? [element("dd", { class: "quiet" }, more)] : []))]));
}

function sums() {
  const found = [];
  if (days) {
    const every = days.cameras.flatMap((camera) => camera.days);
    const expected = every.reduce((sum, day) => sum + day.expected_s, 0);
    const covered = every.reduce((sum, day) => sum + Math.min(day.covered_s, day.expected_s), 0);
    found.push([say("sumCoverage"), expected ? share(covered / expected) : "–", lasts(covered)]);
    found.push([say("sumPeriod"), say("days", days.retention_days)]);
  }
  if (kept) {
    const { free_bytes: free, full_in_hours: full, bytes_per_day: rate, giving_way: less } = kept.forecast;
    const reduced = Object.keys(less).length;
    const more = [free === null ? "" : say("roomOk", size(free)), reduced ? say("givingWay", reduced) : ""].filter(Boolean).join(" · ");
    found.push([say("sumRoom"), full !== null ? lasts(full * 3600) : say(free !== null && rate ? "roomLong" : "roomUnknown"), more, full !== null && full < 168 ? "short" : ""]);
    found.push([say("sumRate"), rate ? size(rate) : "–"]);
    found.push([say("sumHolds"), say("holdsNow", kept.holds), kept.holds_overdue ? say("holdsOverdue", kept.holds_overdue) : "", kept.holds_overdue ? "short" : ""]);
  }
  return found;
}

// ---- one day

async function follow() {
  if (!who()?.role) return;
  const match = /^#([^/]+)\/(\d{4}-\d\d-\d\d)$/.exec(location.hash);
  if (!match) {
    turn++;
    shown = null;
    player.stop();
    view();
    drawOverview();
    return;
  }
  await showDay(decodeURIComponent(match[1]), match[2]);
}

async function showDay(camera, day) {
  const mine = ++turn;
  if (shown?.camera !== camera || shown?.day !== day) player.stop();
  const known = days?.cameras.find((one) => one.id === camera);
  const before = shown;
  shown = { camera, day, name: known?.name ?? camera, found: null, spans: [], begin: instant(day), end: instant(nextDay(day)) };
  view();
  sayState();
  await readDay(mine);
  if (mine !== turn || !shown) return;
  if (!before || before.camera !== camera || before.day !== day) {
    const first = shown.spans.find((span) => span.kind === "kept");
    cursor = Math.floor((first?.from ?? shown.begin) / MINUTE_MS) * MINUTE_MS;
    if (UPKEEP.includes(who().role)) exporter.suggest(cursor);
  }
  drawShown();
}

async function readDay(mine) {
  const { camera, begin, end } = shown;
  try {
    const query = { from: new Date(begin).toISOString(), to: new Date(end).toISOString(), ...viewing() };
    const found = await ask(`cameras/${encodeURIComponent(camera)}/recordings`, { query });
    if (mine !== turn || !shown) return;
    Object.assign(shown, { found }, spansOf(found, shown.day, Date.now()));
  } catch (error) {
    if (mine === turn) failed(error);
  }
}

function drawShown() {
  if (!shown) return;
  $("day-title").textContent = `${shown.name} · ${dayWords(shown.day, true)}`;
  $("date").value = shown.day;
  $("date").max = dayOf(new Date());
  $("day-after").disabled = shown.day >= dayOf(new Date());
  $("strip").setAttribute("aria-label", say("stripOf", shown.name, dayWords(shown.day)));
  const mine = holds.filter((hold) => !hold.camera || hold.camera === shown.camera);
  drawDay($("strip"), shown, mine);
  const kinds = ["kept", "reduced", ...CAUSES, "unaccounted", "expired", "pending", "none"];
  const there = new Set(shown.spans.map((span) => span.kind));
  legend($("day-legend"), [...kinds.filter((kind) => there.has(kind)), ...(mine.some((hold) => hold.from < shown.end && hold.to > shown.begin) ? ["held"] : [])]);
  const covered = shown.spans.filter((span) => ["kept", "reduced"].includes(span.kind)).reduce((sum, span) => sum + span.to - span.from, 0);
  const sum = days?.cameras.find((one) => one.id === shown.camera);
  const wanted = shown.spans.filter((span) => !["none", "expired", "pending"].includes(span.kind)).reduce((total, span) => total + span.to - span.from, 0);
  const first = sum?.first_kept ? new Date(sum.first_kept) : null;
  $("day-sums").textContent = shown.found ? say("daySums", lasts(covered / 1000), wanted ? share(covered / wanted) : "–", first ? `${dayWords(dayOf(first))} ${clock(first)}` : "–") : "";
  const gaps = shown.spans.filter((span) => span.gap || span.kind === "unaccounted");
  $("gaps").replaceChildren(...(gaps.length ? gaps.map((gap) => {
    const button = element("button", { type: "button" }, element("i", { class: "swatch " + gap.kind }),
      ` ${clock(new Date(gap.from))}–${gap.lasting ? say("lasting") : clock(new Date(gap.to))} `, element("b", {}, cause(gap.kind)), ` ${lasts((gap.to - gap.from) / 1000)}`,
      ...(gap.detail ? [element("span", { class: "quiet" }, gap.detail)] : []));
    button.addEventListener("click", () => moveTo(gap.from));
    return element("li", {}, button);
  }) : [element("li", { class: "quiet" }, say("noGaps"))]));
  moveTo(cursor);
}

function moveTo(at, byPerson = true) {
  if (!shown) return;
  cursor = Math.min(Math.max(at, shown.begin), shown.end - 1000);
  if (byPerson) cursor = Math.floor(cursor / MINUTE_MS) * MINUTE_MS;
  const strip = $("strip"), hour = $("hour");
  if (byPerson || Number(hour.dataset.from) !== shown.begin + Math.floor((cursor - shown.begin) / 3_600_000) * 3_600_000) drawHour(hour, shown, cursor);
  placeCursor(strip, (cursor - shown.begin) / (shown.end - shown.begin));
  placeCursor(hour, (cursor - Number(hour.dataset.from)) / 3_600_000);
  const words = told(shown, Math.floor(cursor / MINUTE_MS) * MINUTE_MS);
  strip.setAttribute("aria-valuenow", String(Math.floor((cursor - shown.begin) / MINUTE_MS)));
  strip.setAttribute("aria-valuetext", words);
  $("told").textContent = words;
}

// Where nothing is kept at a minute, the next that is kept within the hour is played, and the reason said.
function playFrom(at) {
  moveTo(at);
  const keptAt = shown.spans.filter((span) => ["kept", "reduced"].includes(span.kind));
  const here = keptAt.find((span) => span.from < at + MINUTE_MS && span.to > at);
  const next = here ?? keptAt.find((span) => span.from > at);
  if (!next) {
    player.say(say("nothingThere", told(shown, at)), "ended");
    return;
  }
  const from = Math.max(at, next.from);
  player.play(shown.camera, from, shown.end).then(() => {
    const why = shown?.spans.find((span) => span.from <= at && span.to > at);
    if (!here && why && player.opened) player.note(say("jumped", cause(why.kind), clock(new Date(from))));
  });
}

function instantAt(strip, event) {
  const board = strip.querySelector(".board").getBoundingClientRect();
  const part = Math.min(0.9999, Math.max(0, (event.clientX - board.left) / board.width));
  const [from, length] = strip.id === "strip" ? [shown.begin, shown.end - shown.begin] : [Number(strip.dataset.from), 3_600_000];
  return Math.floor((from + part * length) / MINUTE_MS) * MINUTE_MS;
}
for (const strip of [$("strip"), $("hour")]) {
  strip.addEventListener("click", (event) => { if (shown?.found) playFrom(instantAt(strip, event)); });
  strip.addEventListener("pointermove", (event) => { if (shown?.found) tip(told(shown, instantAt(strip, event)), event.clientX, strip); });
  strip.addEventListener("pointerleave", () => tip(""));
}
$("strip").addEventListener("keydown", (event) => {
  if (!shown?.found || event.ctrlKey || event.metaKey || event.altKey) return;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -10, ArrowUp: 10, PageDown: -60, PageUp: 60, Home: -1440, End: 1440 };
  const gaps = shown.spans.filter((span) => span.gap);
  const minute = Math.floor(cursor / MINUTE_MS) * MINUTE_MS;
  let to = event.key in steps ? minute + steps[event.key] * MINUTE_MS : null;
  if (event.key === "n") to = gaps.find((gap) => gap.from >= minute + MINUTE_MS)?.from ?? minute;
  if (event.key === "p") to = gaps.findLast((gap) => gap.from < minute)?.from ?? minute;
  if (event.key === "Enter" || event.key === " ") playFrom(minute);
  else if (to === null) return;
  else moveTo(to);
  event.preventDefault();
});

// ---- what is said beside the pointer or the focus

function tip(words, x = 0, over = null) {
  const place = $("tip");
  place.textContent = words;
  place.hidden = !words;
  if (!over) return;
  const box = over.getBoundingClientRect();
  place.style.left = Math.max(4, Math.min(x + 8, innerWidth - place.offsetWidth - 8)) + "px";
  place.style.top = Math.max(4, box.top - place.offsetHeight - 6) + "px";
}
for (const [type, shows] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
  $("cameras").addEventListener(type, (event) => {
    const here = event.target.closest(".cell");
    if (here) tip(shows ? here.dataset.tip : "", here.getBoundingClientRect().left, here);
  });
}
$("cameras").addEventListener("keydown", (event) => moveInCameras($("cameras"), event));

// ---- the rest

const goTo = (day) => { if (day && day <= dayOf(new Date())) location.hash = `${encodeURIComponent(shown.camera)}/${day}`; };
$("day-before").addEventListener("click", () => goTo(nextDay(shown.day, -1)));
$("day-after").addEventListener("click", () => goTo(nextDay(shown.day)));
$("date").addEventListener("change", () => goTo($("date").value));
addEventListener("hashchange", follow);
addEventListener("resize", () => { if (shown?.found) drawShown(); });
$("language").addEventListener("click", () => {
  setLanguage(!isChinese());
  if (!who()?.role) return;
  sayCaller();
  sayState();
  drawOverview();
  if (shown?.found) drawShown();
  if (!player.opened) player.say(say("choose"));
  if (UPKEEP.includes(who().role)) exporter.estimate();
});
// Today goes on while it is looked at; that is still the same viewing.
setInterval(async () => {
  if (!who()?.role || document.hidden) return;
  const mine = turn;
  site = await ask("site").catch((error) => { failed(error); return site; });
  if (mine !== turn) return;
  if (shown?.day === dayOf(new Date())) {
    await readDay(mine);
    if (mine === turn && shown) drawShown();
  } else if (!shown) await Promise.all([readDays(), readUpkeep()]);
}, REFRESH_MS);

setLanguage(isChinese());
view();
if (who()?.role) begin().catch(failed);
