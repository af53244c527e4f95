// What a person chose for the ladder: the asset of its sizes, whether its rows stand still, and its
// columns. The browser remembers it. An address that names the asset goes before that.

const KEY = "ladder";
const COLUMNS = ["price", "size", "total"];

// A browser may refuse to remember, or hold what another version wrote.
function remembered() {
  try {
    const { quote, still, order, hidden } = JSON.parse(localStorage.getItem(KEY)) ?? {};
    const names = (list) => (Array.isArray(list) ? COLUMNS.filter((name) => list.includes(name)) : []);
    const known = Array.isArray(order) ? order.filter((name) => COLUMNS.includes(name)) : [];
    return {
      quote: quote === true,
      still: still === true,
      order: [...new Set([...known, ...COLUMNS])],
      hidden: new Set(names(hidden).filter((name) => name !== "price")),
    };
  } catch {
    return { quote: false, still: false, order: COLUMNS, hidden: new Set() };
  }
}

export class LadderChoice {
  // `form` has the controls, and `book` the ladder. `changed` is called with the changed name: `unit`
  // or `still`; `centre` asks for the mid in the middle.
  constructor(form, book, changed) {
    Object.assign(this, { form, book, changed, ...remembered() });
    this.unit = form.elements.unit;
    this.button = document.getElementById("still"); // A page of fragments has none.
    this.columns = document.getElementById("columns");
    if (this.quote && !new URLSearchParams(location.search).has("unit")) this.unit.value = "quote";
    this.unit.addEventListener("change", () => this.take("unit"));
    this.button?.addEventListener("click", () => {
      this.still = !this.still;
      this.take("still");
    });
    this.columns.addEventListener("change", ({ target }) => {
      const name = target.closest("li").dataset.column;
      this.hidden[target.checked ? "delete" : "add"](name);
      this.take("columns");
    });
    this.columns.addEventListener("click", ({ target }) => {
      if (target.dataset.by) this.move(target.closest("li").dataset.column, Number(target.dataset.by));
    });
    document.addEventListener("keydown", (event) => this.press(event));
    for (const control of [this.button, this.columns]) if (control) control.hidden = false;
    this.show();
  }

  get inQuote() {
    return this.unit.value === "quote";
  }

  press(event) {
    if (event.key === "Escape" && this.columns.open) {
      this.columns.open = false;
      this.columns.querySelector("summary").focus();
    }
    const typing = event.target.closest?.("input, select");
    if (event.ctrlKey || event.altKey || event.metaKey || typing) return;
    const key = event.key.toLowerCase();
    if (key === "u") {
      this.unit.value = this.inQuote ? "base" : "quote";
      this.unit.dispatchEvent(new Event("change"));
    } else if (key === "s") this.button?.click();
    else if (key === "c") this.changed("centre");
  }

  // Moves a column past its neighbour among those shown.
  move(name, by) {
    const shown = this.order.filter((other) => !this.hidden.has(other));
    const neighbour = shown[shown.indexOf(name) + by];
    if (this.hidden.has(name) || !neighbour) return;
    const swapped = { [name]: neighbour, [neighbour]: name };
    this.order = this.order.map((other) => swapped[other] ?? other);
    this.take("columns");
  }

  take(name) {
    const { inQuote: quote, still, order, hidden } = this;
    try {
      localStorage.setItem(KEY, JSON.stringify({ quote, still, order, hidden: [...hidden] }));
    } catch {
      // It holds for as long as the page is open.
    }
    this.show();
    if (name !== "columns") this.changed(name);
  }

  show() {
    const { book, order, hidden, still } = this;
    const shown = order.filter((name) => !hidden.has(name));
    book.classList.toggle("still", still && this.button !== null);
    book.classList.toggle("arranged", shown.join() !== COLUMNS.join());
    book.classList.toggle("price-first", shown[0] === "price");
    book.style.setProperty("--shown", shown.length);
    const list = this.columns.querySelector("ul");
    for (const [place, name] of order.entries()) {
      book.style.setProperty(`--${name}-place`, place);
      book.classList.toggle(`no-${name}`, hidden.has(name));
      const item = list.querySelector(`[data-column=${name}]`);
      item.querySelector("input").checked = !hidden.has(name);
      for (const button of item.querySelectorAll("button")) {
        button.disabled = hidden.has(name) || !shown[shown.indexOf(name) + Number(button.dataset.by)];
      }
      item.style.order = place;
    }
    this.button?.setAttribute("aria-pressed", still);
  }
}
