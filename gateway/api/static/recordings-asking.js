// Asking the gateway. The token goes in a header and nowhere else; what was typed at the form lives in this tab until it is closed.
import { errorWords } from "./recordings-words.js";

const KEPT = "campus-recordings";
const API = "api/v1/";

export class Problem extends Error {
  constructor(status, detail = "", againS = 5) {
    super(detail);
    this.status = status;
    this.detail = detail;
    this.againS = againS;
  }
  get words() { return errorWords(this.status, this.detail, this.againS); }
}

let session = read();
let signedOut = () => {};

function read() {
  try { return JSON.parse(sessionStorage.getItem(KEPT)) || null; } catch { return null; }
}
function keep() {
  try {
    if (session) sessionStorage.setItem(KEPT, JSON.stringify(session));
    else sessionStorage.removeItem(KEPT);
  } catch { /* without it a reload asks again */ }
}

export const who = () => session;
export function signIn(entry) { session = entry; keep(); }
export function signOut() { session = null; keep(); signedOut(); }
export function whenSignedOut(what) { signedOut = what; }
export function setReason(reason) { session.reason = reason; keep(); }
export const person = () => ({ name: session.name, unit: session.unit });

// What every look at recordings is registered with, as the API's query has it.
export function viewing(reason = session.reason) {
  return { ...person(), reason };
}

export async function ask(path, { query, body, signal, whole = true } = {}) {
  const address = API + path + (query ? "?" + new URLSearchParams(query) : "");
  let answer;
  try {
    answer = await fetch(address, {
      method: body ? "POST" : "GET",
      headers: { Authorization: "Bearer " + session.token, ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body && JSON.stringify(body),
      credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer", signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0);
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    const wrong = (problem.errors || []).map((one) => `${one.where}: ${one.expected}`).join("; ");
    throw new Problem(answer.status, wrong || problem.detail, Number(answer.headers.get("Retry-After")) || 5);
  }
  return whole ? answer.json() : answer;
}
