// What both kinds of page share: the symbol box, and telling a screen reader the state.

export function submitOnChoice(form) {
  const box = form.elements.symbol;
  const shown = box.value;
  // Choosing a suggestion is an input event that brings a whole name, without typing.
  box.addEventListener("input", (event) => {
    const chosen = !event.inputType || event.inputType === "insertReplacementText";
    if (chosen && box.value !== shown) form.requestSubmit();
  });
  box.addEventListener("focus", () => box.select());
}

let announced = "";

// Says only what changed; numbers are never announced.
export function announce(state) {
  if (state === announced) return;
  if (announced) document.getElementById("announcement").textContent = `The book is ${state}.`;
  announced = state;
}
