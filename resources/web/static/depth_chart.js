// The depth chart's outlines, as `web/depth_path.py` draws them on the server.

export const WIDTH = 1000;
export const HEIGHT = 240;
const COLUMNS = 100;
const SHOWN_SHARE = 0.9; // A few far-off levels must not squeeze the rest into a line.

export function depthChart(bids, asks) {
  if (!bids.levels.length || !asks.levels.length) return null;
  const mid = (bids.levels[0].at + asks.levels[0].at) / 2;
  const reach = Math.min(reachOf(bids.levels, mid), reachOf(asks.levels, mid));
  const bidSums = sumsAt(bids.levels, mid, reach);
  const askSums = sumsAt(asks.levels, mid, reach);
  const most = Math.max(bidSums.at(-1), askSums.at(-1));
  const [bidSize, askSize] = [sizeWithin(bids.levels, mid, reach), sizeWithin(asks.levels, mid, reach)];
  return {
    bids: outline(bidSums, most, -1),
    asks: outline(askSums, most, 1),
    low: mid - reach,
    mid,
    high: mid + reach,
    most,
    mostSize: bidSize > askSize ? bidSize : askSize,
  };
}

// The exact sum of the levels within `reach`.
function sizeWithin(levels, mid, reach) {
  let total = 0n;
  for (const { at, size } of levels) {
    if (Math.abs(at - mid) > reach) break;
    total += size;
  }
  return total;
}

function reachOf(levels, mid) {
  const last = Math.max(0, Math.floor(levels.length * SHOWN_SHARE) - 1);
  return Math.abs(levels[last].at - mid);
}

function sumsAt(levels, mid, reach) {
  const sums = [];
  let index = 0, sum = 0;
  for (let column = 0; column <= COLUMNS; column++) {
    const distance = (reach * column) / COLUMNS;
    while (index < levels.length && Math.abs(levels[index].at - mid) <= distance) {
      sum += levels[index++].amount;
    }
    sums.push(sum);
  }
  return sums;
}

function outline(sums, most, outward) {
  const centre = WIDTH / 2;
  const parts = sums.map((sum, column) => {
    const x = centre + (outward * centre * column) / COLUMNS;
    return `H${x.toFixed(0)}V${(HEIGHT * (1 - sum / most)).toFixed(1)}`;
  });
  return `M${centre} ${HEIGHT}${parts.join("")}V${HEIGHT}Z`;
}
