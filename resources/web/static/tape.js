// The newest trades, the newest first. The parts of one taker order are one row: their ids follow
// one another, with the same time and side. Missing ids are a row of their own.

import { COST_EXPONENT, decimal, short, units } from "./numbers.js";
import { put } from "./ladder.js";

const KEPT = 300;
const SIZE_WIDEST = 11; // In characters.
const ARROWS = { up: "▲ ", down: "▼ ", none: "" };
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});

export class TapeList {
  trades = []; // By id, the newest last.
  run = "";

  constructor(list, places, assets) {
    Object.assign(this, { list, places, assets });
  }

  take({ run, trades, lastPrice, direction, leftOut, anew }) {
    if (run !== this.run || anew) this.trades = [];
    this.run = run;
    const known = new Set(this.trades.map((trade) => trade.id));
    const fresh = trades.filter((trade) => !known.has(trade.id));
    for (const trade of fresh) {
      trade.units = units(trade.price);
      trade.size = units(trade.quantity);
    }
    if (leftOut && fresh.length) fresh[0].leftOut = leftOut;
    this.trades.push(...fresh);
    this.trades.sort((one, other) => one.id - other.id);
    this.trades.splice(0, this.trades.length - KEPT);
    const price = lastPrice ? decimal(units(lastPrice), this.places.price) : "–";
    this.last = `${ARROWS[direction]}${price}`;
    this.direction = direction;
  }

  draw(inQuote, count) {
    const rows = this.rows(count);
    while (this.list.children.length > Math.max(rows.length, 1)) this.list.lastChild.remove();
    while (this.list.children.length < rows.length) this.list.append(emptyRow());
    rows.forEach((row, at) => this.show(this.list.children[at], row, inQuote));
  }

  // The newest `count` rows.
  rows(count) {
    const rows = [];
    for (let at = this.trades.length - 1; at >= 0 && rows.length <= count; at -= 1) {
      const trade = this.trades[at];
      const row = rows.at(-1);
      const isNext = row?.first === trade.id + 1;
      if (isNext && row.side === trade.side && row.time === trade.time && !row.leftOut) {
        join(row, trade);
        continue;
      }
      if (row && !isNext && !row.leftOut) {
        rows.push({ kind: "gap", count: row.first - trade.id - 1, time: trade.time });
      } else if (row?.leftOut) {
        rows.push({ kind: "sum", count: row.leftOut, time: trade.time });
      }
      rows.push(firstOf(trade));
    }
    return rows.slice(0, count);
  }

  show(element, row, inQuote) {
    const [time, side, price, size] = element.children.length === 4 ? element.children : renew(element);
    const kind = row.kind ?? row.side;
    if (element.className !== kind) element.className = kind;
    put(time, clock.format(row.time));
    put(side, sideText(row));
    put(price, row.kind ? "" : decimal(row.price, this.places.price));
    put(size, row.kind ? "" : this.sizeText(row, inQuote));
    const exact = row.kind ? "" : `${decimal(row.size, this.places.size)} ${this.assets.base}`;
    if (element.title !== exact) element.title = exact;
  }

  sizeText(row, inQuote) {
    if (inQuote) return short(row.cost, 2, COST_EXPONENT);
    const whole = decimal(row.size, this.places.size);
    return whole.length <= SIZE_WIDEST ? whole : short(row.size, this.places.size);
  }
}

function firstOf({ id, time, side, units: price, size, leftOut }) {
  return { first: id, time, side, price, size, cost: price * size, prices: 1, low: price, leftOut };
}

// The trade comes before the others of its row; the price of a row is that of its last trade.
function join(row, trade) {
  row.first = trade.id;
  row.size += trade.size;
  row.cost += trade.units * trade.size;
  row.prices += trade.units !== row.low;
  row.low = trade.units;
  row.leftOut = trade.leftOut;
}

function sideText({ kind, count, side, prices }) {
  if (kind === "gap") return `${count} ${count === 1 ? "trade" : "trades"} missing`;
  if (kind === "sum") return `+ ${count} more`;
  return `${side === "buy" ? "Buy" : "Sell"}${prices > 1 ? ` x${prices}` : ""}`;
}

function emptyRow() {
  const row = document.createElement("li");
  renew(row);
  return row;
}

function renew(row) {
  const names = ["time", "span", "span", "span"];
  row.replaceChildren(...names.map((name) => document.createElement(name)));
  return row.children;
}
