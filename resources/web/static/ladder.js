// The ladder: levels grouped by a price step, with exact totals from the spread outward. Prices of
// bids are rounded down, prices of asks up.

import { AT_LEAST, isBeyond, isLeast } from "./known_depth.js";
import { COST_EXPONENT, decimal } from "./numbers.js";

const BAR_STEPS = 50n; // The style sheet's classes w0 to w50.

// Beyond the edge of what is known, levels stay single, and the total is that through the edge.
// Without `singles` they are in groups, too.
export function groups(side, step, count, singles) {
  const group = (price) => {
    const rest = price % step;
    return side.outward < 0n || rest === 0n ? price - rest : price - rest + step;
  };
  const last = side.edge === null || !singles ? null : group(side.edge);
  const rows = [];
  let total = 0n, totalCost = 0n;
  for (const { price, size } of side.levels) {
    const single = last !== null && (price - last) * side.outward > 0n;
    const at = single ? price : group(price);
    if (single || rows.at(-1)?.price !== at || rows.at(-1).single) {
      if (rows.length === count) break;
      const least = isLeast(side, at);
      const name = side.outward < 0n ? "bid" : "ask";
      rows.push({ price: at, size: 0n, cost: 0n, single, least, leastSize: least && !single, name });
    }
    const row = rows.at(-1);
    row.size += size;
    row.cost += price * size;
    if (!isBeyond(side, price)) {
      total += size;
      totalCost += price * size;
    }
    Object.assign(row, { total, totalCost });
  }
  return rows;
}

// Where the rows stand still: each multiple of a step has one, also without a level. They move only
// when a best price leaves the middle third of the rows in view: then the mid is in the middle again.
// Where the spread takes more than that third, the mid counts instead.
export class StillRows {
  middle = null;

  // Returns `count` rows, the highest price first; `inView` of them, around the middle, are in view.
  rows(bids, asks, { step, count, inView }) {
    const best = [bids, asks].filter((rows) => rows.length).map((rows) => rows[0].price);
    if (!best.length) return [];
    const market = best.reduce((left, right) => left + right) / BigInt(best.length) / step;
    const reach = Math.floor(inView / 6), places = best.map((price) => price / step);
    const spread = Math.abs(Number(places.at(-1) - places[0]));
    const watched = spread <= 2 * reach ? places : [market];
    const isAway = (place) => Math.abs(Number(place - this.middle)) > reach;
    if (this.middle === null || watched.some(isAway)) this.middle = market;
    const held = new Map([...bids, ...asks].map((row) => [row.price, row]));
    const top = this.middle + BigInt(count / 2);
    return Array.from({ length: count }, (_, line) => (top - BigInt(line)) * step)
      .map((price) => (price < 0n ? undefined : { name: "none", price, ...held.get(price), still: true }));
  }
}

// Whether `price` is beyond what is known of the side on which it is.
export function isUnknown(price, [bids, bidRows], [asks, askRows]) {
  if (askRows.length && price >= askRows[0].price) return isLeast(asks, price);
  return bidRows.length > 0 && price <= bidRows[0].price && isLeast(bids, price);
}

// Sets the text of an element; with `title`, which has more digits, also that.
export function put(element, text, title) {
  if (element.textContent !== text) element.textContent = text;
  if (title !== undefined && element.title !== title) element.title = title;
}

// Shows `rows`, grouped by `step`, in the table rows `elements`, both from the spread outward. A
// single level has the places of the tick, a group those of the step. A row without a size is a step
// without a level.
export function show(elements, rows, memory, step, places, inQuote) {
  const { size, total } = memory;
  const full = memory.scale.median || 1n;
  const exact = (value) =>
    inQuote ? decimal(value, 2, COST_EXPONENT) : decimal(value, places.size);
  elements.forEach((element, index) => {
    const row = rows[index], level = row?.size ? row : undefined;
    const [price, first, second] = element.cells;
    put(price, row ? decimal(row.price, row.single ? places.tick : places.price) : "");
    const leastSize = level?.leastSize ? AT_LEAST : "", least = level?.least ? AT_LEAST : "";
    const shown = level && (inQuote ? [row.cost, row.totalCost] : [row.size, row.total]);
    put(first, level ? leastSize + size.text(shown[0]) : "", level ? leastSize + exact(shown[0]) : "");
    put(second, level ? least + total.text(shown[1]) : "", level ? least + exact(shown[1]) : "");
    const share = level ? (row.size * BAR_STEPS) / full : 0n;
    const classes = [`w${share < BAR_STEPS ? share : BAR_STEPS}`];
    if (level && index && skips(row.price - rows[index - 1].price, step)) classes.push("skip");
    if (level && memory.isLarge(row.size)) classes.push("large");
    if (row?.least) classes.push("beyond");
    if (row?.still) classes.push(row.name);
    const name = classes.join(" ");
    if (element.className !== name) element.className = name;
  });
}

// Whether steps without a level lie between two rows.
function skips(distance, step) {
  return (distance < 0n ? -distance : distance) > step;
}
