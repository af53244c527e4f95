// Parts of both kinds of page: the form, the demo strip, and announcements for screen readers.

export function submitOnChoice(form) {
  const box = form.elements.symbol;
  const shown = box.value;
  // The choice of a suggestion is an input event without typing, and sets a whole name.
  box.addEventListener("input", (event) => {
    const chosen = !event.inputType || event.inputType === "insertReplacementText";
    if (chosen && box.value !== shown) form.requestSubmit();
  });
  box.addEventListener("focus", () => box.select());
  // A grouping belongs to its symbol; another symbol begins with its own usual grouping.
  form.addEventListener("formdata", (event) => {
    if (box.value !== shown) event.formData.delete("group");
  });
}

const RELOAD_AT_MOST_EVERY_MS = 5_000;
let reloadedAt = -Infinity;

// A page that was made before the book was known lacks the groupings and the decimal places of
// prices. It is reloaded once the book is known, unless the form has the focus. Returns whether
// the page is to be reloaded; the caller then draws nothing on it. Reloads are limited, because
// another reload would cancel a slow server's answer, or reload the new page as well.
export function reloadIncomplete(form, known) {
  const incomplete = document.getElementById("book").dataset.known === undefined;
  const reloads = known && incomplete && !form.contains(document.activeElement);
  if (reloads && performance.now() - reloadedAt > RELOAD_AT_MOST_EVERY_MS) {
    reloadedAt = performance.now();
    location.reload();
  }
  return reloads;
}

// The window may change to its demo, or back, while the page is open.
export function showDemo(demo) {
  document.getElementById("demo").hidden = !demo;
  retitle();
}

// `time` is the moment of a replay as text; empty: the book is live.
export function showReplay(time) {
  document.getElementById("replay").hidden = !time;
  const shown = document.getElementById("replay-time");
  if (shown.textContent !== time) shown.textContent = time;
  retitle();
}

function retitle() {
  const marks = { replay: "REPLAY · ", demo: "DEMO · " };
  const shown = Object.keys(marks).filter((id) => !document.getElementById(id).hidden);
  const name = document.title.replace(/^(REPLAY · )?(DEMO · )?/, "");
  const title = shown.map((id) => marks[id]).join("") + name;
  if (document.title !== title) document.title = title;
}

let announced = "";

// Announces changes of the state to a screen reader. Numbers are never announced.
export function announce(state) {
  if (state === announced) return;
  if (announced) document.getElementById("announcement").textContent = `The book is ${state}.`;
  announced = state;
}
