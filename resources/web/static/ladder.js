// The ladder: levels grouped by a price step, with exact totals from the spread outward. Prices of
// bids are rounded down, prices of asks up.

import { AT_LEAST, isBeyond, isLeast } from "./known_depth.js";
import { decimal } from "./numbers.js";

const BAR_STEPS = 50n; // The style sheet's classes w0 to w50.

// Beyond the edge of what is known, levels stay single, and the total is that through the edge.
export function groups(side, step, count) {
  const group = (price) => {
    const rest = price % step;
    return side.outward < 0n || rest === 0n ? price - rest : price - rest + step;
  };
  const last = side.edge === null ? null : group(side.edge);
  const rows = [];
  let total = 0n;
  for (const { price, size } of side.levels) {
    const single = last !== null && (price - last) * side.outward > 0n;
    const at = single ? price : group(price);
    if (single || rows.at(-1)?.price !== at || rows.at(-1).single) {
      if (rows.length === count) break;
      const least = isLeast(side, at);
      rows.push({ price: at, size: 0n, single, least, leastSize: least && !single });
    }
    const row = rows.at(-1);
    row.size += size;
    if (!isBeyond(side, price)) total += size;
    row.total = total;
  }
  return rows;
}

// Sets the text of an element; with `title`, which has more digits, also that.
export function put(element, text, title) {
  if (element.textContent !== text) element.textContent = text;
  if (title !== undefined && element.title !== title) element.title = title;
}

// Shows `rows`, grouped by `step`, in the table rows `elements`, both from the spread outward. A
// single level has the places of the tick, a group those of the step.
export function show(elements, rows, memory, step, places) {
  const { size, total } = memory;
  const full = memory.scale.median || 1n;
  elements.forEach((element, index) => {
    const row = rows[index];
    const [price, first, second] = element.cells;
    put(price, row ? decimal(row.price, row.single ? places.tick : places.price) : "");
    const leastSize = row?.leastSize ? AT_LEAST : "", least = row?.least ? AT_LEAST : "";
    const exact = (value) => decimal(value, places.size);
    put(first, row ? leastSize + size.text(row.size) : "", row ? leastSize + exact(row.size) : "");
    put(second, row ? least + total.text(row.total) : "", row ? least + exact(row.total) : "");
    const share = row ? (row.size * BAR_STEPS) / full : 0n;
    const classes = [`w${share < BAR_STEPS ? share : BAR_STEPS}`];
    if (row && index && skips(row.price - rows[index - 1].price, step)) classes.push("skip");
    if (row && memory.isLarge(row.size)) classes.push("large");
    if (row?.least) classes.push("beyond");
    const name = classes.join(" ");
    if (element.className !== name) element.className = name;
  });
}

// Whether steps without a level lie between two rows.
function skips(distance, step) {
  return (distance < 0n ? -distance : distance) > step;
}
