// The depth chart's range and outlines, by the rules of `core/depth_curve.py`, which serves the
// window and `web/book_view.py`.

export const WIDTH = 1000;
export const HEIGHT = 240;
const COLUMNS = 200;
const COLUMN = WIDTH / COLUMNS;

// The result is null without levels. `tick` is the finest price step.
export function depthChart(bids, asks, tick) {
  const best = [bids, asks].filter((side) => side.levels.length).map((side) => side.levels[0].at);
  if (!best.length) return null;
  const mid = best.reduce((left, right) => left + right) / best.length;
  const half = halfSpan([bids.levels, asks.levels].filter((levels) => levels.length), mid, tick);
  const [low, high] = [mid - half, mid + half];
  const inView = [within(bids.levels, (at) => at >= low), within(asks.levels, (at) => at <= high)];
  const most = Math.max(...inView.map(({ amount }) => amount));
  const [bidSize, askSize] = inView.map(({ size }) => size);
  const chart = { low, mid, high, most, mostSize: bidSize > askSize ? bidSize : askSize };
  return { ...chart, bids: outline(bids.levels, chart, -1), asks: outline(asks.levels, chart, 1) };
}

// The range leaves out the last levels: a few distant ones would flatten the rest.
function halfSpan(sides, mid, tick) {
  const farthest = (index) =>
    Math.max(...sides.map((levels) => Math.abs(levels[index(levels.length)].at - mid)));
  const reach = farthest((count) => Math.ceil(((count - 1) * 9) / 10));
  const nearest = farthest(() => 0);
  return Math.max(Math.min(reach * 1.05, Math.max(0.02 * mid, 2 * nearest)), 10 * tick);
}

// The total size of the levels before the first one that isn't `inside`, exact and as a double.
function within(levels, inside) {
  let size = 0n, amount = 0;
  for (const level of levels) {
    if (!inside(level.at)) break;
    size += level.size;
    amount += level.amount;
  }
  return { size, amount };
}

// A column shows the total size from the spread to the column's middle. The curve ends with its
// last level.
function outline(levels, { low, high, most }, outward) {
  if (!levels.length) return "";
  const column = (high - low) / COLUMNS;
  const ends = [levels[0].at, levels.at(-1).at];
  const [nearest, farthest] = [Math.min(...ends) - column / 2, Math.max(...ends) + column / 2];
  const tops = new Map();
  let index = 0, sum = 0;
  for (let count = 0; count < COLUMNS; count++) {
    const x = outward > 0 ? count : COLUMNS - 1 - count;
    const price = low + (x + 0.5) * column;
    while (index < levels.length && (price - levels[index].at) * outward >= 0) {
      sum += levels[index++].amount;
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
