// Follows a book: the stream sends the whole book, then changes, which are merged here. After a
// change that does not fit the book, the stream is opened anew and sends the whole book again.
// Each level has its exact price and size (numbers.js), and doubles of both for drawing.

import { units } from "./numbers.js";

const SILENT_MS = 15_000; // The time of three heartbeats.
const LOOK_EVERY_MS = 1_000;

// An update id may be too large for an exact double. Newer browsers give its text, which is exact.
function exact(name, value, context) {
  return name === "lastUpdateId" && context?.source ? BigInt(context.source) : value;
}

function level([price, size]) {
  return { price: units(price), size: units(size), at: Number(price), amount: Number(size) };
}

export class Side {
  constructor(pairs, outward) {
    this.outward = outward; // 1n for asks, whose prices rise from the best one outward, else -1n.
    this.levels = pairs.map(level);
    this.edge = null;
    this.proven = false;
  }

  // Sets how deep the side is known (see known_depth.js). An undefined `edge`: that is not known.
  setEdge(edge) {
    this.proven = edge !== undefined;
    this.edge = edge ? units(edge) : null;
    this.edgeAt = edge ? Number(edge) : null;
  }

  set(pair) {
    const changed = level(pair);
    let low = 0, high = this.levels.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.levels[middle].price - changed.price) * this.outward < 0n) low = middle + 1;
      else high = middle;
    }
    const known = this.levels[low]?.price === changed.price;
    if (changed.size === 0n) this.levels.splice(low, known ? 1 : 0);
    else this.levels.splice(low, known ? 1 : 0, changed);
  }
}

export class BookFeed {
  // `changed` is called when a field has changed, `traded` with each message of trades, which
  // comes before a message of the book.
  constructor(address, changed, traded) {
    Object.assign(this, { address, changed, traded, lost: false, heardAt: 0 });
    Object.assign(this, { run: "", seq: 0, status: "", detail: "", bornAt: null });
    this.bids = new Side([], -1n);
    this.asks = new Side([], 1n);
    this.open();
    setInterval(() => this.look(), LOOK_EVERY_MS);
    document.addEventListener("visibilitychange", () => this.open());
    addEventListener("online", () => this.open());
  }

  // A hidden tab closes its stream, since a browser has only six connections for all tabs.
  open() {
    this.source?.close();
    if (document.hidden) return;
    this.heardAt = Date.now();
    this.source = new EventSource(this.address);
    this.source.onmessage = (event) => this.take(JSON.parse(event.data, exact));
    this.source.addEventListener("trades", (event) => this.traded(JSON.parse(event.data)));
    this.source.onopen = () => this.setLost(false);
    this.source.onerror = () => this.setLost(true);
  }

  // `lost` is whether the server is away. `open` does not set it: opening anew is no loss.
  setLost(lost) {
    this.lost = lost;
    this.changed();
  }

  // Replaces a stream that has ended for good, or that is silent after the computer slept.
  look() {
    if (document.hidden) return;
    const silent = Date.now() - this.heardAt > SILENT_MS;
    if (silent || this.source.readyState === EventSource.CLOSED) this.open();
    this.setLost(this.lost || silent);
  }

  take(message) {
    this.heardAt = Date.now();
    const fits = message.run === this.run && message.from === this.seq;
    // A book that is lost is empty; the last one that was known stays, and is not current. One of a
    // replay is empty at a gap, over which no book is shown.
    const isEmpty = message.kind === "book" && Number(message.lastUpdateId) === 0;
    const isLost = isEmpty && message.replayTime === undefined;
    if (isLost) {
      message.lastUpdateId = this.lastUpdateId ?? message.lastUpdateId;
    } else if (message.kind === "book") {
      this.bids = new Side(message.bids, -1n);
      this.asks = new Side(message.asks, 1n);
    } else if (!fits) {
      return this.open();
    }
    if (message.kind === "diff") {
      for (const pair of message.bids) this.bids.set(pair);
      for (const pair of message.asks) this.asks.set(pair);
    }
    if ((message.kind === "book" && !isLost) || "knownFrom" in message) {
      this.bids.setEdge(message.knownFrom);
      this.asks.setEdge(message.knownTo);
    }
    const { run, seq, status, detail, lastUpdateId, ageMs, demo, gaps, sessionGaps } = message;
    const bornAt = ageMs === null ? null : this.heardAt - ageMs;
    const current = message.current !== false && !isLost;
    Object.assign(this, { run, seq, status, detail, lastUpdateId, bornAt, demo, current });
    Object.assign(this, { gaps, sessionGaps, replayTime: message.replayTime });
    this.changed();
  }
}
