// The depth chart's range and outlines, by the rules of `core/depth_curve.py`, which serves the
// window and `web/book_view.py`.

import { wholeCount } from "./known_depth.js";

export const WIDTH = 1000;
export const HEIGHT = 240;
const COLUMNS = 200;
const COLUMN = WIDTH / COLUMNS;

// What a level counts for: its size, exact and as a double, or what it costs in the quote asset.
export function amounts(inQuote) {
  return inQuote
    ? { exact: ({ price, size }) => price * size, rough: ({ at, amount }) => at * amount }
    : { exact: ({ size }) => size, rough: ({ amount }) => amount };
}

// The result is null without levels. `tick` is the finest price step.
export function depthChart(bids, asks, tick, inQuote) {
  const sides = [bids, asks], counted = amounts(inQuote), { rough } = counted;
  const best = sides.filter((side) => side.levels.length).map((side) => side.levels[0].at);
  if (!best.length) return null;
  const mid = best.reduce((left, right) => left + right) / best.length;
  const [low, high] = automaticRange(sides, mid, tick);
  const whole = sides.map((side) => side.levels.slice(0, wholeCount(side)));
  const beyond = sides.map((side) => side.levels.slice(wholeCount(side)).filter(
    ({ at }) => at >= low && at <= high));
  const inView = [
    within(whole[0], (at) => at >= low, counted), within(whole[1], (at) => at <= high, counted)];
  const singles = beyond.flat().map(rough);
  const most = Math.max(...inView.map(({ amount }) => amount), ...singles);
  const larger = inView[0].size >= inView[1].size ? 0 : 1;
  const side = sides[larger];
  const past = side.edge !== null && (larger ? high > side.edgeAt : low < side.edgeAt);
  const mostIsLeast = !side.proven || past;
  const chart = { low, mid, high, most, mostSize: inView[larger].size, mostIsLeast, rough };
  const x = (price) => Math.round(((price - low) / (high - low)) * WIDTH);
  return {
    ...chart,
    bids: outline(whole[0], bids.edgeAt, chart, -1),
    asks: outline(whole[1], asks.edgeAt, chart, 1),
    bidSpikes: spikes(beyond[0], chart),
    askSpikes: spikes(beyond[1], chart),
    unknown: unknown(bids, asks, x) + unknown(asks, bids, x),
    edges: sides.filter(({ edge, edgeAt }) => edge !== null && edgeAt >= low && edgeAt <= high)
      .map(({ edgeAt }) => `M${x(edgeAt)} 0V${HEIGHT}`).join(""),
    grid: `M0 60H${WIDTH}M0 120H${WIDTH}M0 180H${WIDTH}M${x(mid)} 0V${HEIGHT}`,
  };
}

// The mid with the same distance to both sides, but not beyond what is known. On a side without an
// edge the range leaves out the last levels: a few distant ones would flatten the rest.
function automaticRange(sides, mid, tick) {
  const filled = sides.filter((side) => side.levels.length);
  const reach = Math.max(...filled.map((side) => {
    if (side.edge !== null) return Math.abs(side.edgeAt - mid);
    return Math.abs(side.levels[Math.ceil(((side.levels.length - 1) * 9) / 10)].at - mid) * 1.05;
  }));
  const nearest = Math.max(...filled.map((side) => Math.abs(side.levels[0].at - mid)));
  const half = Math.max(Math.min(reach, Math.max(0.02 * mid, 2 * nearest)), 10 * tick);
  const least = Math.max(10 * tick, 2 * nearest);
  const [bids, asks] = sides;
  return [
    bids.edge === null ? mid - half : Math.max(mid - half, Math.min(bids.edgeAt, mid - least)),
    asks.edge === null ? mid + half : Math.min(mid + half, Math.max(asks.edgeAt, mid + least)),
  ];
}

// The single levels beyond the edge.
function spikes(levels, { low, high, most, rough }) {
  const column = (high - low) / COLUMNS;
  const tops = new Map();
  for (const level of levels) {
    const x = Math.min(COLUMNS - 1, Math.floor((level.at - low) / column));
    const top = Math.min(HEIGHT - 1, Math.round((1 - rough(level) / most) * HEIGHT));
    tops.set(x, Math.min(top, tops.get(x) ?? top));
  }
  const sorted = [...tops].sort(([left], [right]) => left - right);
  return sorted.map(([x, top]) => `M${x * COLUMN + 2} ${HEIGHT}V${top}`).join("");
}

// The area beyond what is known. A side ends at the best price of the other.
function unknown(side, other, x) {
  const outward = Number(side.outward);
  let price = side.proven ? side.edgeAt : side.levels[0]?.at ?? null;
  if (price === null) return "";
  const limit = other.levels[0]?.at;
  if (side.proven && limit !== undefined && (limit - price) * outward > 0) price = limit;
  const at = Math.min(WIDTH, Math.max(0, x(price)));
  const [left, right] = outward < 0 ? [0, at] : [at, WIDTH];
  return left === right ? "" : `M${left} 0H${right}V${HEIGHT}H${left}Z`;
}

// The sum of the levels before the first one that isn't `inside`, exact and as a double. `amounts`
// say what a level counts for.
export function within(levels, inside, { exact, rough }) {
  let size = 0n, amount = 0;
  for (const level of levels) {
    if (!inside(level.at)) break;
    size += exact(level);
    amount += rough(level);
  }
  return { size, amount };
}

// A column shows the total size from the spread to the column's middle. The curve ends at the edge of
// what is known, or with its last level.
function outline(levels, edge, { low, high, most, rough }, outward) {
  if (!levels.length) return "";
  const column = (high - low) / COLUMNS;
  const ends = [levels[0].at, edge ?? levels.at(-1).at];
  const [nearest, farthest] = [Math.min(...ends) - column / 2, Math.max(...ends) + column / 2];
  const tops = new Map();
  let index = 0, sum = 0;
  for (let count = 0; count < COLUMNS; count++) {
    const x = outward > 0 ? count : COLUMNS - 1 - count;
    const price = low + (x + 0.5) * column;
    while (index < levels.length && (price - levels[index].at) * outward >= 0) {
      sum += rough(levels[index++]);
    }
    if (price >= nearest && price <= farthest) tops.set(x, Math.round((1 - sum / most) * HEIGHT));
  }
  const columns = [...tops.keys()].sort((left, right) => left - right);
  if (!columns.length) return "";
  let path = `M${columns[0] * COLUMN} ${HEIGHT}`;
  columns.forEach((x, at) => {
    const top = tops.get(x);
    if (at === 0 || top !== tops.get(columns[at - 1])) path += `${at ? `H${x * COLUMN}` : ""}V${top}`;
  });
  return `${path}H${(columns.at(-1) + 1) * COLUMN}V${HEIGHT}Z`;
}
