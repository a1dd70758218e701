// What moves on a page: clocks count, ages grow, a lost centre is said, a new disaster may be heard. The rest is htmx.
"use strict";

const ALIVE_EVERY_MS = 15000;
const STALE_MS = 40000;
const UNITS = document.body.dataset.units.split("|");
let answeredMs = Date.now();
let skewMs = 0; // of the centre's clock to ours

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 120) return `${s}${UNITS[0]}`;
  if (s < 7200) return `${Math.floor(s / 60)}${UNITS[1]}`;
  if (s < 172800) return `${Math.floor(s / 3600)}${UNITS[2]}`;
  return `${Math.floor(s / 86400)}${UNITS[3]}`;
}

function left(ms) {
  const s = Math.floor(Math.abs(ms) / 1000);
  if (s >= 172800) return `${Math.floor(s / 86400)}${UNITS[3]}`;
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

function minute(ms, timeZone) { // Swedish writes dates as ISO 8601 does
  return new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "short" }).format(ms);
}

function tick() {
  const now = Date.now() + skewMs;
  for (const one of document.querySelectorAll("time[data-due]")) one.textContent = left(one.dataset.due - now);
  for (const one of document.querySelectorAll("time[data-ago]")) one.textContent = span(now - one.dataset.ago);
  for (const one of document.querySelectorAll("time[data-now]")) one.textContent = minute(now, one.dataset.now);
  document.getElementById("stale").hidden = Date.now() - answeredMs < STALE_MS;
}

function tell(isUp) {
  const live = document.getElementById("live");
  if (!live || live.classList.contains(isUp ? "up" : "down")) return;
  live.classList.toggle("up", isUp);
  live.classList.toggle("down", !isUp);
  live.textContent = isUp ? live.dataset.live : live.dataset.lost;
}

async function askWhetherAlive() {
  try {
    const answer = await fetch(`${document.body.dataset.root}api/me`, { cache: "no-store" });
    // signed out, or too long away: what stands here grows old; what is being typed is kept when it is sent (keep_forms)
    if (answer.status === 401 && ![...document.querySelectorAll("form.act")].some(isBusy)) location.reload();
    if (answer.ok) {
      answeredMs = Date.now();
      const told = Date.parse(answer.headers.get("Date") || "");
      if (!Number.isNaN(told) && Math.abs(told - Date.now()) > 5000) skewMs = told - Date.now();
    }
  } catch {
    // the stream says it too; after STALE_MS the page does
  }
  tick();
}

// On a phone the filters are folded away until somebody wants them.
const filters = document.querySelector(".filters details");
if (filters && window.matchMedia("(max-width: 799px)").matches) filters.open = false;

// Three tones for a disaster that was not there before, if somebody wants to hear that. Browsers let a page sound only once
// its reader has touched it: until then the page says so.
let alarms = null;
function sound() {
  const found = document.querySelector("[data-alarms]");
  if (!found) return;
  const now = found.dataset.alarms.split(" ").filter((one) => one);
  const isNew = alarms !== null && now.some((one) => !alarms.includes(one));
  alarms = now;
  if (!isNew || !box || !box.checked) return;
  const context = new AudioContext();
  for (const at of [0, 0.5, 1]) {
    const tone = context.createOscillator();
    tone.connect(context.destination);
    tone.start(context.currentTime + at);
    tone.stop(context.currentTime + at + 0.3);
  }
}

// A wall shows one screen after the other.
const SCREEN_MS = 10000;
function turn() {
  const screens = [...document.querySelectorAll(".screen")];
  const shown = Math.floor(Date.now() / SCREEN_MS) % (screens.length || 1);
  screens.forEach((screen, number) => { screen.hidden = number !== shown; });
}

// What the page asked for anew may never come, or come as an error: it asks again, and does not wait for the next change.
const AGAIN_MS = 5000;
for (const trouble of ["htmx:timeout", "htmx:sendError", "htmx:responseError"]) {
  document.body.addEventListener(trouble, ({ detail }) => {
    const part = detail.elt;
    if (part.matches("[hx-trigger*=again]")) setTimeout(() => htmx.trigger(part, "again"), AGAIN_MS);
  });
}
// What was asked before somebody pressed something, and is answered after it, is of the page as it was: it is asked again.
document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const part = detail.requestConfig.elt;
  if (!part.matches("[hx-trigger*=again]") || new URL(detail.xhr.responseURL).search === location.search) return;
  detail.shouldSwap = false;
  setTimeout(() => htmx.trigger(part, "again"));
});
document.body.addEventListener("htmx:sseOpen", () => tell(true));
document.body.addEventListener("htmx:sseError", () => tell(false));
document.body.addEventListener("htmx:afterSettle", () => { answeredMs = Date.now(); tick(); sound(); turn(); });
const box = document.getElementById("sound");
function sayWhetherHeard() {
  const touched = !navigator.userActivation || navigator.userActivation.hasBeenActive;
  document.getElementById("unheard").hidden = !box.checked || touched;
}
if (box) {
  box.checked = localStorage.getItem("sound") === "on";
  box.addEventListener("change", () => localStorage.setItem("sound", box.checked ? "on" : "off"));
  for (const touch of ["click", "keyup", "change"]) document.addEventListener(touch, sayWhetherHeard);
  sayWhetherHeard();
}
setInterval(tick, 1000);
setInterval(askWhetherAlive, ALIVE_EVERY_MS);
setInterval(turn, 1000);
tick();
turn();
sound();
