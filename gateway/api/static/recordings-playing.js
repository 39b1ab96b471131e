// Plays what was recorded of a span. One opening is one POST, and one line of the register; moving within it is none.
import { ask, person, Problem, who } from "./recordings-asking.js";
import { cause, clock, say } from "./recordings-words.js";

const SPAN_MS = 3_600_000; // the API's longest
const SEAM_MS = 1200;
const NOTE_MS = 8000;

export class Player {
  // `moved` hears where the picture is; `gapsOf` gives the gaps of the day, by start.
  constructor(parts, { moved, gapsOf, exports }) {
    Object.assign(this, parts, { moved, gapsOf, exports });
    this.hls = null;
    this.opened = null; // { camera, from, to, first, last }
    this.before = null; // what the picture's time was at the last look, and the film's
    this.time = 0;
    this.turn = 0;
    this.speed.addEventListener("change", () => { this.video.playbackRate = Number(this.speed.value); });
    this.further.addEventListener("click", () => this.play(this.opened.camera, this.opened.to, this.opened.end));
    setInterval(() => this.look(), 250);
    this.say(say("choose"));
  }

  say(words, kind = "") {
    this.message.textContent = words;
    this.message.dataset.kind = kind;
    this.message.hidden = !words;
  }
  note(words) {
    this.say(words, "note");
    clearTimeout(this.noted);
    this.noted = setTimeout(() => { if (this.message.dataset.kind === "note") this.say(""); }, NOTE_MS);
  }

  // The next choice is a new opening, wherever it lies.
  forget() {
    if (this.opened) this.opened.over = true;
  }

  stop() {
    this.turn++;
    this.hls?.destroy();
    this.hls = this.opened = this.before = null;
    this.further.hidden = true;
    this.video.removeAttribute("src");
    this.video.load();
    this.clock.textContent = "--";
    this.say(say("choose"));
  }

  // Play camera from `at` (ms); `end` is the end of the day shown. What was opened already is only moved in.
  async play(camera, at, end) {
    if (this.opened?.camera === camera && !this.opened.over && at >= this.opened.from && at < this.opened.to && this.move(at)) return;
    const turn = ++this.turn;
    this.say(say("opening"));
    this.further.hidden = true;
    const to = Math.min(at + SPAN_MS, end, Math.floor(Date.now() / 1000) * 1000);
    const body = { from: new Date(at).toISOString(), to: new Date(Math.max(to, at + 1000)).toISOString(), by: person(), reason: who().reason };
    let answer;
    try {
      answer = await ask(`cameras/${encodeURIComponent(camera)}/playback`, { body });
    } catch (error) {
      if (turn === this.turn) this.say(error instanceof Problem ? error.words : String(error), "ended");
      return;
    }
    if (turn !== this.turn) return;
    this.opened = { camera, end, from: Date.parse(answer.from), to: Date.parse(answer.to), first: Date.parse(answer.first) };
    // The gateway may stand behind a prefix of the proxy: the link is taken from where the page is.
    const link = new URL(answer.playlist);
    this.start("recordings/" + link.pathname.split("/recordings/")[1] + link.search);
  }

  start(playlist) {
    this.hls?.destroy();
    this.hls = null;
    this.before = null;
    if (window.Hls && Hls.isSupported()) {
      const hls = new Hls({ enableWorker: false, maxBufferLength: 90, backBufferLength: 120 });
      this.hls = hls;
      hls.on(Hls.Events.ERROR, (_, data) => this.failed(hls, data));
      hls.loadSource(playlist);
      hls.attachMedia(this.video);
    } else if (this.video.canPlayType("application/vnd.apple.mpegurl")) {
      this.video.src = playlist;
      this.video.onerror = () => this.cannot();
    } else {
      this.cannot();
      return;
    }
    this.video.defaultPlaybackRate = this.video.playbackRate = Number(this.speed.value);
    this.video.play().catch(() => {}); // where that is not allowed, the controls are there
  }

  cannot() {
    this.say(say(this.exports() ? "cannotPlay" : "cannotPlayGuard"), "ended");
  }
  failed(hls, data) {
    if (hls !== this.hls) return;
    const codec = ["manifestIncompatibleCodecsError", "bufferAddCodecError", "bufferIncompatibleCodecsError"].includes(data.details);
    if (codec) {
      hls.destroy();
      this.hls = null;
      this.cannot();
    } else if (data.fatal) {
      const status = data.response?.code;
      this.opened = null; // the next choice opens anew
      hls.destroy();
      this.hls = null;
      this.say(status === 410 ? say("linkOver") : say("brokenOff", status || data.details), "ended");
    } else if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
      this.say(say("waiting"), "waiting"); // it goes on trying for a while by itself
    }
  }

  // Seek to an instant of what was opened: whether that was possible.
  move(at) {
    const list = this.hls?.latestLevelDetails?.fragments ?? [];
    const found = list.find((one) => one.programDateTime + one.duration * 1000 > at);
    if (!found) return false;
    this.before = null;
    this.video.currentTime = found.start + Math.max(0, at - found.programDateTime) / 1000;
    this.video.play().catch(() => {});
    return true;
  }

  pictureTime() {
    if (this.hls) return this.hls.playingDate;
    const begin = this.video.getStartDate?.();
    return begin && !isNaN(begin) ? new Date(begin.getTime() + this.video.currentTime * 1000) : null;
  }

  look() {
    const at = this.opened && this.video.readyState >= 2 ? this.pictureTime() : null;
    if (!at || isNaN(at)) return;
    const played = (this.video.currentTime - this.time) * 1000;
    this.time = this.video.currentTime;
    if (played && this.message.dataset.kind !== "note") this.say(""); // it moves
    this.clock.textContent = clock(at);
    this.clock.dateTime = at.toISOString();
    // The clock in the school went on while the film did not: a gap lies between.
    if (this.before !== null && at - this.before - played > SEAM_MS) {
      const gap = this.gapsOf().find((one) => one.from < at && one.to > this.before);
      if (gap) this.note(say("skipped", clock(new Date(gap.from)), clock(new Date(gap.to)), cause(gap.kind)));
    }
    this.before = at.getTime();
    this.moved(at.getTime());
    const more = this.video.ended && this.opened.to < Math.min(this.opened.end, Date.now() - 60_000);
    this.further.hidden = !more;
    if (more) this.further.textContent = say("further", clock(new Date(this.opened.to), false));
    if (this.video.ended && this.message.dataset.kind !== "note") this.say(say("endOfSpan"), "note");
  }
}
