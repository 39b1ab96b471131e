// The export: how much it will be, its progress, the file, and how to check it.
import { ask, Problem, viewing, who } from "./recordings-asking.js";
import { instant, lasts, local, say, size } from "./recordings-words.js";

const LONGEST_MS = 6 * 3_600_000;
const MUCH_BYTES = 2e9; // more than that many browsers do not hold
const FOLD_BYTES = 64e6; // pieces become a Blob by then, which a browser may put on disk

export class Exporter {
  // `known` gives the camera and the day shown; `cursor` the instant chosen.
  constructor(form, { known, cursor }) {
    this.form = form;
    this.known = known;
    this.running = null;
    const at = (id) => form.querySelector(id);
    this.parts = { estimate: at("#estimate"), stop: at("#stop-export"), progress: at("#progress"), told: at("#exported"), check: at("#check"), go: at("button.main") };
    const { from, to } = form.elements;
    at("#from-here").addEventListener("click", () => { from.value = local(new Date(cursor())); this.estimate(); });
    at("#to-here").addEventListener("click", () => { to.value = local(new Date(cursor() + 60_000)); this.estimate(); });
    for (const one of [from, to]) one.addEventListener("input", () => this.estimate());
    this.parts.stop.addEventListener("click", () => this.running?.abort());
    form.addEventListener("submit", (event) => { event.preventDefault(); this.export(); });
  }

  suggest(at) {
    const { from, to, reason } = this.form.elements;
    from.value = local(new Date(at));
    to.value = local(new Date(Math.min(at + 5 * 60_000, Date.now())));
    reason.value ||= who().reason;
    this.estimate();
  }

  span() {
    const { from, to } = this.form.elements;
    return from.value && to.value ? [instant(from.value), instant(to.value)] : null;
  }
  estimate() {
    const span = this.span();
    const good = span && span[1] > span[0] && span[1] - span[0] <= LONGEST_MS && span[1] <= Date.now();
    const { estimate, go } = this.parts;
    go.disabled = !good || this.running !== null;
    estimate.textContent = good ? "" : say("tooLong");
    if (!good) return 0;
    const minutes = this.known().found?.minutes ?? [];
    const bytes = minutes.reduce((sum, line) => {
      const begin = Date.parse(line.minute);
      return sum + line.bytes * Math.max(0, Math.min(span[1], begin + 60_000) - Math.max(span[0], begin)) / 60_000;
    }, 0);
    if (bytes) estimate.textContent = say("estimate", lasts((span[1] - span[0]) / 1000), size(bytes)) + (bytes > MUCH_BYTES ? say("estimateLong") : "");
    return bytes;
  }

  async export() {
    const { stop, progress, told, check, go } = this.parts;
    const [from, to] = this.span();
    const about = this.estimate(), camera = this.known().camera;
    const query = { from: new Date(from).toISOString(), to: new Date(to).toISOString(), ...viewing(this.form.elements.reason.value.trim()) };
    this.running = new AbortController();
    go.disabled = true;
    stop.hidden = progress.hidden = false;
    check.hidden = true;
    progress.removeAttribute("value");
    const begun = performance.now();
    const making = () => { told.textContent = say("making", Math.round((performance.now() - begun) / 1000)); };
    making();
    const ticking = setInterval(making, 1000);
    try {
      const answer = await ask(`cameras/${encodeURIComponent(camera)}/export`, { query, signal: this.running.signal, whole: false });
      clearInterval(ticking);
      const length = Number(answer.headers.get("Content-Length"));
      const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))?.[1] ?? "export.zip";
      const file = await this.read(answer, (bytes) => {
        told.textContent = say("fetching", size(bytes), length ? size(length) : "~" + size(about));
        progress.value = Math.min(1, bytes / (length || about || Infinity));
      });
      this.save(file, name);
      told.textContent = say("exported", name, size(file.size));
      await this.sayHowToCheck(name);
    } catch (error) {
      told.textContent = error.name === "AbortError" ? say("stopped") : (error instanceof Problem ? error : new Problem(0)).words;
    } finally {
      clearInterval(ticking);
      this.running = null;
      stop.hidden = progress.hidden = true;
      this.estimate();
    }
  }

  async read(answer, told) {
    const reader = answer.body.getReader();
    let folded = new Blob([]), pieces = [], waiting = 0, bytes = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (value) {
        pieces.push(value);
        waiting += value.length;
        bytes += value.length;
      }
      if (done || waiting > FOLD_BYTES) {
        folded = new Blob([folded, ...pieces], { type: "application/zip" });
        [pieces, waiting] = [[], 0];
      }
      if (done) return folded;
      told(bytes);
    }
  }

  save(file, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  async sayHowToCheck(name) {
    const { check } = this.parts;
    check.textContent = say("check", name);
    if (who().role === "inspector") {
      // Only the inspector may read the register; its head is signed with the exports' key.
      const found = await ask("access-register", { query: { limit: 1 } }).catch(() => null);
      if (found) check.textContent = say("checkWith", name, found.head.key);
    }
    check.hidden = false;
  }
}
