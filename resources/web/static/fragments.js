// The script of the page whose book is replaced by htmx, fragment by fragment.

import { announce, reloadIncomplete, showDemo, showReplay, submitOnChoice } from "./choice.js";
import { LadderChoice } from "./ladder_choice.js";

const SILENT_MS = 15_000; // The time of three heartbeats.
const LOOK_EVERY_MS = 1_000;
const form = document.getElementById("choice");
let connection = null;
let heardAt = Date.now();
let expected = 0; // Attempts that are no loss: a tab that was hidden makes a new connection.

// Shows the state "reconnecting", until the next fragment brings the true state.
function lost() {
  document.getElementById("badge").className = "badge reconnecting";
  document.getElementById("state").textContent = "reconnecting";
  announce("reconnecting");
  for (const part of document.querySelectorAll(".ladder, .chart")) {
    part.classList.add("old");
    part.dataset.age = "reconnecting";
  }
}

document.addEventListener("htmx:sse:before:connection", (event) => {
  connection = event.detail.connection;
  if (connection.attempt > expected) lost();
});
document.addEventListener("htmx:sse:after:message", () => {
  heardAt = Date.now();
  expected = 0;
  announce(document.getElementById("state").textContent);
  const { demo, replay } = document.querySelector(".strip").dataset;
  showDemo(demo !== undefined);
  showReplay(replay);
  reloadIncomplete(form, document.getElementById("mid").textContent !== "–");
});
// A silent connection is ended, and htmx connects anew. If that doesn't help, the page reloads.
setInterval(async () => {
  const silentMs = Date.now() - heardAt;
  if (document.hidden || silentMs < SILENT_MS) return;
  lost();
  connection?.reader?.cancel();
  if (silentMs < 2 * SILENT_MS) return;
  const answer = await fetch("/healthz").catch(() => null);
  if (answer?.ok) location.reload();
}, LOOK_EVERY_MS);
document.addEventListener("visibilitychange", () => {
  heardAt = Date.now();
  expected = 1;
});

submitOnChoice(form);
form.elements.group.addEventListener("change", () => form.requestSubmit());
const rendered = form.elements.unit.value;
const choice = new LadderChoice(form, document.getElementById("book"), (name) => {
  if (name === "unit") form.requestSubmit();
});
if (choice.unit.value !== rendered) form.requestSubmit();
announce(document.getElementById("state").textContent);
