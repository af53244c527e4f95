// What the ladder remembers: the usual sizes of the last five minutes and the units of its columns.
// `ladder_memory.py` has the same rules.

import { ColumnFormat } from "./numbers.js";

const EVERY_MS = 1_000, KEPT_MS = 300_000;
const NEAR_ROWS = 50, TYPICAL_ROWS = 100, TOTAL_ROWS = 25;
const SCALE_PERCENT = 95;
const LARGE_TIMES = 10n;

function sorted(bids, asks, rows) {
  const sizes = [...bids.slice(0, rows), ...asks.slice(0, rows)].map((row) => row.size);
  return sizes.sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
}

// The median of samples of the last five minutes.
class SteadyValue {
  samples = [];
  median = 0n;

  take(now, value) {
    this.samples.push({ now, value });
    this.samples = this.samples.filter((sample) => sample.now > now - KEPT_MS);
    const values = this.samples.map((sample) => sample.value);
    values.sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
    this.median = values[values.length >> 1];
  }
}

export class LadderMemory {
  scale = new SteadyValue();
  usual = new SteadyValue();
  sampledAt = -Infinity;

  // `bids` and `asks` are rows from the spread outward, up to `LadderMemory.rows` of them.
  take(bids, asks, now) {
    const sizes = sorted(bids, asks, NEAR_ROWS);
    if (!sizes.length || now - this.sampledAt < EVERY_MS) return;
    this.sampledAt = now;
    this.scale.take(now, sizes[Math.floor(((sizes.length - 1) * SCALE_PERCENT) / 100)]);
    this.usual.take(now, sizes[(sizes.length - 1) >> 1]);
  }

  // `inQuote` is whether sizes and totals are in the quote asset.
  formats(bids, asks, places, inQuote) {
    const sizes = sorted(bids, asks, TYPICAL_ROWS);
    const totals = [bids, asks].map((rows) => rows.slice(0, TOTAL_ROWS).at(-1)?.total ?? 0n);
    const total = totals[0] > totals[1] ? totals[0] : totals[1];
    const size = sizes[(sizes.length - 1) >> 1] ?? 0n;
    const best = [bids, asks].filter((rows) => rows.length).map((rows) => rows[0].price);
    const price = best.length ? best.reduce((left, right) => left + right) / BigInt(best.length) : 0n;
    const format = (typical, held) => inQuote
      ? ColumnFormat.ofCosts(typical * price, held)
      : ColumnFormat.of(typical, places, held);
    this.size = format(size, this.size);
    this.total = format(total, this.total);
    return this;
  }

  isLarge(size) {
    return this.usual.median > 0n && size >= LARGE_TIMES * this.usual.median;
  }
}

LadderMemory.rows = TYPICAL_ROWS;
