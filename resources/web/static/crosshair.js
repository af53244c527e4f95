// The depth chart's crosshair: follows the mouse, a finger or the arrow keys, and shows the total
// size, or its cost, between the mid and its price.

import { amounts, HEIGHT, WIDTH, within } from "./depth_chart.js";
import { depthText, wholeCount } from "./known_depth.js";
import { put } from "./ladder.js";
import { COST_EXPONENT, decimal, onTick, rounded } from "./numbers.js";

const STEPS = 200; // From end to end. An arrow key moves by one step, with Shift by ten.
const percents = new Intl.NumberFormat("en", { maximumFractionDigits: 2, signDisplay: "always" });

export class Crosshair {
  // Draws into `svg`, and writes its text into the element `output`. `names` has base and quote.
  constructor(svg, output, places, names) {
    Object.assign(this, { svg, output, places, names, step: null, feed: null, chart: null });
    this.line = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
    this.line.setAttribute("class", "cross");
    const role = { tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": STEPS };
    for (const [name, value] of Object.entries(role)) svg.setAttribute(name, value);
    this.say();
    for (const name of ["pointerdown", "pointermove"]) {
      svg.addEventListener(name, (event) => this.move((STEPS * event.offsetX) / svg.clientWidth));
    }
    for (const name of ["pointerleave", "blur"]) svg.addEventListener(name, () => this.move(null));
    svg.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    const ends = { Home: 0, End: STEPS }[event.key];
    if (event.key === "Escape") this.move(null);
    else if (steps) this.move((this.step ?? STEPS / 2) + steps * (event.shiftKey ? 10 : 1));
    else if (ends !== undefined) this.move(ends);
    else return;
    event.preventDefault();
    this.say();
  }

  move(step) {
    this.step = step === null ? null : Math.min(STEPS, Math.max(0, step));
    this.draw();
  }

  // With `inQuote` sums are costs in the quote asset.
  show(feed, chart, inQuote) {
    Object.assign(this, { feed, chart, inQuote });
    this.draw();
  }

  draw() {
    const here = this.step !== null && this.chart ? this.reading() : null;
    const x = (WIDTH * this.step) / STEPS;
    this.line.setAttribute("d", here ? `M${x} 0V${HEIGHT}M0 ${here.y}H${WIDTH}` : "");
    put(this.output, here?.text ?? "");
  }

  // Sets the values for a screen reader, after a key only: changes ten times a second are too many.
  say() {
    this.svg.setAttribute("aria-valuenow", Math.round(this.step ?? STEPS / 2));
    this.svg.setAttribute("aria-valuetext", this.output.textContent || "the mid price");
  }

  reading() {
    const { low, mid, high, most } = this.chart;
    const { tick } = this.names;
    const price = onTick(low + ((high - low) * this.step) / STEPS, tick, this.places.price);
    const side = price < mid ? this.feed.bids : this.feed.asks;
    const outward = Number(side.outward);
    const whole = side.levels.slice(0, wholeCount(side));
    const inside = (at) => Math.abs(at - mid) <= Math.abs(price - mid);
    const { size: total, amount } = within(whole, inside, amounts(this.inQuote));
    const { base, quote } = this.names;
    const away = percents.format(100 * (price / mid - 1));
    const size = this.inQuote
      ? `${decimal(total, 2, COST_EXPONENT)} ${quote}` : `${decimal(total, this.places.size)} ${base}`;
    const isLeast = !side.proven || (side.edge !== null && (price - side.edgeAt) * outward > 0);
    const edge = side.edge === null ? null : decimal(side.edge, this.places.price);
    const parts = [
      `${rounded(price, this.places.price)} ${quote}`,
      `${away} %`,
      isLeast ? `at least ${size}; ${depthText(edge)}` : size,
    ];
    return { text: parts.join(" · "), y: HEIGHT * (1 - amount / most) };
  }
}
