// What both kinds of page share: the form, and telling a screen reader the state.

export function submitOnChoice(form) {
  const box = form.elements.symbol;
  const shown = box.value;
  // Choosing a suggestion is an input event that brings a whole name, without typing.
  box.addEventListener("input", (event) => {
    const chosen = !event.inputType || event.inputType === "insertReplacementText";
    if (chosen && box.value !== shown) form.requestSubmit();
  });
  box.addEventListener("focus", () => box.select());
  // A grouping belongs to its symbol: another one begins with its own finest.
  form.addEventListener("formdata", (event) => {
    if (box.value !== shown) event.formData.delete("group");
  });
}

const ANEW_AT_MOST_EVERY_MS = 5_000;
let anewAt = -Infinity;

// A page that was made before the book was known has none of the groupings, nor the places
// of its prices: it is made anew, unless somebody is at the form just now. Tells whether it is
// on its way, for then nothing more is to be shown on this one. Who asked again meanwhile would
// begin again with a slow server, or make the new page anew once more.
export function complete(form, known) {
  const incomplete = document.getElementById("book").dataset.known === undefined;
  const anew = known && incomplete && !form.contains(document.activeElement);
  if (anew && performance.now() - anewAt > ANEW_AT_MOST_EVERY_MS) {
    anewAt = performance.now();
    location.reload();
  }
  return anew;
}

// The window may go over to its demo while somebody watches.
export function tellDemo(demo) {
  document.getElementById("demo").hidden = !demo;
  document.title = document.title.replace(/^(DEMO · )?/, demo ? "DEMO · " : "");
}

let announced = "";

// Says only what changed; numbers are never announced.
export function announce(state) {
  if (state === announced) return;
  if (announced) document.getElementById("announcement").textContent = `The book is ${state}.`;
  announced = state;
}
