// The page whose book htmx swaps in, fragment by fragment.

import { announce, complete, submitOnChoice, tellDemo } from "./choice.js";

const SILENT_MS = 15_000; // Three heartbeats.
const LOOK_EVERY_MS = 1_000;
const form = document.getElementById("choice");
let connection = null;
let heardAt = Date.now();
let expected = 0; // Connections that are no news: a tab that was hidden takes a new one.

// The next fragment puts the true state back.
function lost() {
  document.getElementById("badge").className = "badge reconnecting";
  document.getElementById("state").textContent = "reconnecting";
  announce("reconnecting");
}

document.addEventListener("htmx:sse:before:connection", (event) => {
  connection = event.detail.connection;
  if (connection.attempt > expected) lost();
});
document.addEventListener("htmx:sse:after:message", () => {
  heardAt = Date.now();
  expected = 0;
  announce(document.getElementById("state").textContent);
  tellDemo(document.querySelector(".strip").dataset.demo !== undefined);
  complete(form, document.getElementById("mid").textContent !== "–");
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
  expected = 1;
});

submitOnChoice(form);
form.elements.group.addEventListener("change", () => form.requestSubmit());
announce(document.getElementById("state").textContent);
