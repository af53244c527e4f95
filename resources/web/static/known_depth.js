// How deep a side of the book is known, by the rules of `core/known_depth.py`, which serves the window
// and `web/book_view.py`. A side has `edge`, its last known price (units; null: it has no end), and
// `proven`, whether it is known how deep it is known.

export const AT_LEAST = "≥ ";

// Whether `price` (units) is beyond the last known price.
export function isBeyond(side, price) {
  return side.edge !== null && (price - side.edge) * side.outward > 0n;
}

// Whether the sum through `price` is only a lower bound.
export function isLeast(side, price) {
  return !side.proven || isBeyond(side, price);
}

// The number of levels through the edge, best first.
export function wholeCount(side) {
  const first = side.edge === null ? -1 : side.levels.findIndex(({ price }) => isBeyond(side, price));
  return first < 0 ? side.levels.length : first;
}

export function depthText(edge) {
  return edge === null ? "not known how deep" : `known to ${edge}`;
}

// How deep both sides are known; `text` writes a price.
export function sidesText(bids, asks, text) {
  if (!bids.proven) return "not known how deep the book is known";
  return Object.entries({ bids, asks }).map(([name, { edge }]) =>
    edge === null ? `all ${name} known` : `${name} ${depthText(text(edge))}`).join(", ");
}
