// The ladder: levels grouped by a price step, with exact totals from the spread outward. Prices of
// bids are rounded down, prices of asks up.

import { decimal } from "./numbers.js";

const BAR_STEPS = 50n; // The style sheet's classes w0 to w50.

export function groups(side, step, count) {
  const rows = [];
  let total = 0n;
  for (const { price, size } of side.levels) {
    const rest = price % step;
    const group = side.outward < 0n || rest === 0n ? price - rest : price - rest + step;
    if (rows.at(-1)?.price !== group) {
      if (rows.length === count) break;
      rows.push({ price: group, size: 0n });
    }
    total += size;
    Object.assign(rows.at(-1), { size: rows.at(-1).size + size, total });
  }
  return rows;
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Shows `rows` in the table rows `elements`, both from the spread outward.
export function show(elements, rows, most, places) {
  elements.forEach((element, index) => {
    const row = rows[index];
    const texts = row
      ? [
          decimal(row.price, places.price),
          decimal(row.size, places.size),
          decimal(row.total, places.size),
        ]
      : ["", "", ""];
    texts.forEach((text, column) => put(element.cells[column], text));
    const width = row ? (row.total * BAR_STEPS) / most : 0n;
    if (element.className !== `w${width}`) element.className = `w${width}`;
  });
}
