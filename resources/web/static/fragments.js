// The page whose book htmx swaps in, fragment by fragment.

import { announce, submitOnChoice } from "./choice.js";

const SILENT_MS = 15_000; // Three heartbeats.
const LOOK_EVERY_MS = 1_000;
const form = document.getElementById("choice");
let connection = null;
let heardAt = Date.now();

// The next fragment puts the true state back.
function lost() {
  document.getElementById("badge").className = "badge reconnecting";
  document.getElementById("state").textContent = "reconnecting";
  announce("reconnecting");
}

document.addEventListener("htmx:sse:before:connection", (event) => {
  connection = event.detail.connection;
  if (connection.attempt > 0) lost();
});
document.addEventListener("htmx:sse:after:message", () => {
  heardAt = Date.now();
  announce(document.getElementById("state").textContent);
});
// htmx connects anew by itself; where that doesn't help, the page is loaded anew.
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
});

submitOnChoice(form);
form.elements.group.addEventListener("change", () => form.requestSubmit());
announce(document.getElementById("state").textContent);
