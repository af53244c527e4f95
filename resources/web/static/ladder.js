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

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Shows `rows` in the table rows `elements`, both from the spread outward. A single level has the
// places of the tick, a group those of the step.
export function show(elements, rows, most, places) {
  elements.forEach((element, index) => {
    const row = rows[index];
    const texts = row
      ? [
          decimal(row.price, row.single ? places.tick : places.price),
          (row.leastSize ? AT_LEAST : "") + decimal(row.size, places.size),
          (row.least ? AT_LEAST : "") + decimal(row.total, places.size),
        ]
      : ["", "", ""];
    texts.forEach((text, column) => put(element.cells[column], text));
    const width = row ? (row.total * BAR_STEPS) / most : 0n;
    const name = `w${width}${row?.least ? " beyond" : ""}`;
    if (element.className !== name) element.className = name;
  });
}
