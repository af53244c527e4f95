// The script of the page that merges changes: it draws a changed book once per display frame.

import { BookFeed } from "./book_feed.js";
import { announce, reloadIncomplete, showDemo, showReplay, submitOnChoice } from "./choice.js";
import { Crosshair } from "./crosshair.js";
import { depthChart } from "./depth_chart.js";
import { AT_LEAST, sidesText } from "./known_depth.js";
import { groups, isUnknown, put, show, StillRows } from "./ladder.js";
import { LadderChoice } from "./ladder_choice.js";
import { LadderMemory } from "./ladder_memory.js";
import {
  ageText, COST_EXPONENT, decimal, momentText, onTick, rounded, share, short, units,
} from "./numbers.js";
import { TapeList } from "./tape.js";

const AGE_EVERY_MS = 1_000;
const COST_PLACES = 8; // Of a cost below 1.
const ASK_EVERY_MS = 3_000;
const TAPE_ROWS = 60;
const book = document.getElementById("book");
const form = document.getElementById("choice");
const places = { price: Number(book.dataset.pricePlaces), size: Number(book.dataset.sizePlaces) };
const asks = [...document.getElementById("asks").rows].reverse();
const bids = [...document.getElementById("bids").rows];
const ages = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const crosshair = new Crosshair(
  document.querySelector("svg"), document.getElementById("reading"), places, book.dataset);
let step, rowPlaces, memory, stillRows;
let drawing = 0;
const choice = new LadderChoice(form, book, (name) => {
  if (name !== "unit") stillRows = new StillRows();
  else setInAddress("unit", form.elements.unit.value);
  feed.changed();
});

group(book.dataset.step);

const by = (id) => document.getElementById(id);
const tape = new TapeList(by("tape"), places, book.dataset);
const feed = new BookFeed(`/stream?symbol=${encodeURIComponent(book.dataset.symbol)}`, () => {
  drawing ||= requestAnimationFrame(draw);
}, (message) => tape.take(message));

// A row's price has no more places than the step.
function group(text) {
  step = units(text);
  memory = new LadderMemory();
  stillRows = new StillRows();
  rowPlaces = { price: text.split(".")[1]?.length ?? 0, tick: places.price, size: places.size };
}

function draw() {
  drawing = 0;
  // Until the first book comes, the page shows the book that the server rendered.
  if (feed.run || feed.lost) drawState();
  if (!feed.run) return;
  // Until a book is known, the page shows the last one that the server knew.
  const isKnown = Number(feed.lastUpdateId) > 0 || feed.replayTime !== undefined;
  if (!isKnown && book.dataset.known !== undefined) return;
  if (reloadIncomplete(form, feed.lastUpdateId > 0)) return;
  showDemo(feed.demo);
  const { inQuote, still } = choice;
  const askRows = groups(feed.asks, step, LadderMemory.rows, !still);
  const bidRows = groups(feed.bids, step, LadderMemory.rows, !still);
  const last = [askRows.slice(0, asks.length).at(-1), bidRows.slice(0, bids.length).at(-1)];
  const [askTotal, bidTotal] = last.map((row) => row?.total ?? 0n);
  memory.take(bidRows, askRows, Date.now());
  const { size, total } = memory.formats(bidRows, askRows, places.size, inQuote);
  const asset = inQuote ? book.dataset.quote : book.dataset.base;
  put(by("size-heading"), size.heading("Size", asset));
  put(by("total-heading"), total.heading("Total", asset));
  put(by("chart-asset"), asset);
  const [upper, lower] = still ? stillHalves(bidRows, askRows) : [askRows, bidRows];
  show(asks, upper, memory, step, rowPlaces, inQuote);
  show(bids, lower, memory, step, rowPlaces, inQuote);
  by("asks").ariaLabel = still ? "Upper rows" : "Asks";
  by("bids").ariaLabel = still ? "Lower rows" : "Bids";
  drawStrip(bidTotal, askTotal, last.some((row) => row?.least));
  drawChart();
  drawTape();
  book.dataset.updateId = feed.lastUpdateId;
}

// The rows of both halves of the table, from its middle outward.
function stillHalves(bidRows, askRows) {
  const half = Math.floor(by("asks").clientHeight / asks[0].offsetHeight);
  const inView = 2 * Math.min(asks.length, half);
  const rows = stillRows.rows(bidRows, askRows, { step, count: 2 * asks.length, inView });
  for (const row of rows.filter((row) => row && !row.size)) {
    row.least = isUnknown(row.price, [feed.bids, bidRows], [feed.asks, askRows]);
  }
  return [rows.slice(0, asks.length).reverse(), rows.slice(asks.length)];
}

function drawState() {
  const state = feed.lost ? "reconnecting" : feed.status;
  const isReplay = feed.replayTime !== undefined;
  if (feed.run) showReplay(isReplay ? momentText(feed.replayTime) : "");
  for (const part of book.querySelectorAll(".ladder, .chart, .tape")) {
    if (feed.run) part.classList.toggle("replay", isReplay);
  }
  const badge = by("badge");
  const classes = `badge ${state.replace(/[^a-z]+/g, "-")}`;
  if (badge.className !== classes) badge.className = classes;
  put(by("state"), state === "replay" ? "REPLAY" : state);
  put(by("detail"), feed.lost ? "The connection to the server is lost." : feed.detail);
  announce(state);
  drawGaps();
  drawAge();
}

function drawGaps() {
  if (!feed.run) return;
  const session = feed.gaps ? ` · ${ages.format(feed.sessionGaps)} this session` : "";
  put(by("gaps"), feed.gaps === undefined ? "–" : ages.format(feed.gaps) + session);
}

// With `least` a total is only a lower bound, so the sides can't be compared.
function drawStrip(bidTotal, askTotal, least) {
  const bid = feed.bids.levels[0]?.price;
  const ask = feed.asks.levels[0]?.price;
  const known = bid !== undefined && ask !== undefined;
  const mid = known ? decimal((bid + ask) / 2n, places.price) : "–";
  const spread = known ? decimal(ask - bid, places.price) : "–";
  for (const id of ["mid", "row-mid"]) put(by(id), mid);
  for (const id of ["spread", "row-spread"]) put(by(id), spread);
  const percent = known ? (200 * Number(ask - bid)) / Number(ask + bid) : 0;
  put(by("spread-percent"), known ? share(percent) : "");
  const both = least ? 0n : bidTotal + askTotal;
  put(by("imbalance"), both ? `${(100n * bidTotal) / both} % bids` : "–");
  by("imbalance-bar").className = `w${both ? (50n * bidTotal) / both : 25}`;
}

function drawChart() {
  const { inQuote } = choice;
  const chart = depthChart(feed.bids, feed.asks, Number(book.dataset.tick), inQuote);
  const paths = {
    "bid-area": chart?.bids, "ask-area": chart?.asks, unknown: chart?.unknown,
    "bid-spikes": chart?.bidSpikes, "ask-spikes": chart?.askSpikes,
    edges: chart?.edges, grid: chart?.grid,
  };
  for (const [id, path] of Object.entries(paths)) by(id).setAttribute("d", path ?? "");
  crosshair.show(feed, chart, inQuote);
  const ends = chart && { low: chart.low, middle: (chart.low + chart.high) / 2, high: chart.high };
  for (const name of ["low", "middle", "high"]) {
    const price = chart ? Math.max(0, onTick(ends[name], book.dataset.tick, places.price)) : 0;
    put(by(`chart-${name}`), chart ? rounded(price, places.price) : "");
  }
  const fine = inQuote ? COST_PLACES : places.size;
  const exponent = inQuote ? COST_EXPONENT : undefined;
  const most = chart ? short(chart.mostSize, chart.most >= 1 ? Math.min(2, fine) : fine, exponent) : "";
  put(by("chart-most"), (chart?.mostIsLeast ? AT_LEAST : "") + most);
  const words = sidesText(feed.bids, feed.asks, (edge) => decimal(edge, places.price));
  put(by("known"), chart ? capitalized(words) : "");
}

function drawTape() {
  if (!tape.run) return;
  document.querySelector(".tape").hidden = false;
  for (const id of ["last", "row-last"]) {
    put(by(id), tape.last);
    by(id).className = `last ${tape.direction}`;
  }
  put(by("tape-asset"), choice.inQuote ? book.dataset.quote : book.dataset.base);
  tape.draw(choice.inQuote, TAPE_ROWS);
}

function capitalized(text) {
  return text[0].toUpperCase() + text.slice(1);
}

// An age that changes once a second.
function wholeAge(age) {
  return age < 10 ? `${Math.floor(age)} s` : ageText(age);
}

function drawAge() {
  if (!feed.run && !feed.lost) return;
  const age = feed.bornAt === null ? null : Math.max(0, Date.now() - feed.bornAt) / 1000;
  put(by("age"), age === null ? "" : age < 2 ? "live" : `${wholeAge(age)} ago`);
  const state = feed.lost ? "reconnecting" : feed.status;
  const words = age === null ? state : `${state} · ${ageText(age)}`;
  const isOld = feed.lost || !feed.current;
  for (const part of book.querySelectorAll(".ladder, .chart")) {
    part.classList.toggle("old", isOld);
    if (isOld) part.dataset.age = words;
  }
}

// A restarted server may require another token, and its refusal page says so. Other refusals may
// end by themselves, so the page stays.
async function askWhyLost() {
  if (document.hidden || !feed.lost) return;
  const answer = await fetch(location.href, { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) location.reload();
}

function setInAddress(name, value) {
  const address = new URL(location);
  address.searchParams.set("symbol", book.dataset.symbol);
  address.searchParams.set(name, value);
  history.replaceState(null, "", address);
  address.searchParams.set("live", "fragments");
  by("other").href = address;
}

form.elements.group.addEventListener("change", (event) => {
  group(event.target.value);
  setInAddress("group", event.target.value);
  put(by("grouped"), event.target.value);
  feed.changed();
});
submitOnChoice(form);
setInterval(drawAge, AGE_EVERY_MS);
setInterval(askWhyLost, ASK_EVERY_MS);
