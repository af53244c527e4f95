// Exact prices and sizes: whole numbers (BigInt) in units of 10^-19. A price or size has at most
// 18 decimal places, and the mid of two prices has one more. Costs, prices times sizes, are in units
// of 10^-38.

const EXPONENT = 19;
export const COST_EXPONENT = 2 * EXPONENT;

export function units(text) {
  const [whole, fraction = ""] = text.split(".");
  return BigInt(whole + fraction.padEnd(EXPONENT, "0"));
}

function thousands(whole) {
  return whole.replace(/\B(?=(\d{3})+$)/g, ",");
}

// The text of a price on an axis, for which a double is exact enough.
export function rounded(value, places) {
  const [whole, fraction] = value.toFixed(places).split(".");
  return thousands(whole) + (fraction ? `.${fraction}` : "");
}

// The price next to `value` that is a multiple of `tick`, as the double of its text.
export function onTick(value, tick, places) {
  return Number((Math.round(value / tick) * tick).toFixed(places));
}

// The text of a percentage, with as many places as in the window.
export function share(percent) {
  const size = Math.abs(percent);
  return `${percent.toFixed(size >= 1 ? 2 : size >= 0.01 ? 3 : 5)} %`;
}

// The text of an age, rounded down, as in the window.
export function ageText(seconds) {
  if (seconds < 10) return `${(Math.floor(seconds * 10) / 10).toFixed(1)} s`;
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  const hours = Math.floor(seconds / 3600);
  return seconds < 172_800 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

const moments = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "numeric", year: "numeric", hour: "2-digit", minute: "2-digit",
  second: "2-digit", fractionalSecondDigits: 3, timeZoneName: "short",
});

// The text of a moment in the viewer's zone, as the trades': `8 Aug 2024 08:53:20.250 CEST`.
export function momentText(ms) {
  const part = Object.fromEntries(moments.formatToParts(ms).map(({ type, value }) => [type, value]));
  const date = `${Number(part.day)} ${MONTHS[part.month - 1]} ${part.year}`;
  const time = `${part.hour}:${part.minute}:${part.second}.${part.fractionalSecond}`;
  return `${date} ${time} ${part.timeZoneName}`;
}

export function decimal(value, places, exponent = EXPONENT) {
  const digits = value.toString().padStart(exponent + 1, "0");
  const fraction = digits.slice(-exponent).replace(/0+$/, "").padEnd(places, "0");
  return thousands(digits.slice(0, -exponent)) + (fraction && `.${fraction}`);
}

// The text of an exact value, rounded half up to at most `places` places.
export function short(value, places, exponent = EXPONENT) {
  return decimal(roundedTo(value, exponent - places), 0, exponent);
}

// Rounds half up to a whole number of units of 10^`digits`.
function roundedTo(value, digits) {
  const unit = 10n ** BigInt(digits);
  return ((value + unit / 2n) / unit) * unit;
}

// How the numbers of one column are written: in units of 10^power, with the same number of places.
// `columnFormat` in `number_format.py` has the same rules.
const SUFFIXES = [[18, "E"], [15, "P"], [12, "T"], [9, "B"], [6, "M"], [3, "K"]];
const SCALED_FROM = 5, COLUMN_DIGITS = 6, WIDEST_COLUMN = 10, SHORTENED_FROM = 6;

export class ColumnFormat {
  constructor(exponent, power, places) {
    Object.assign(this, { exponent, power, places });
  }

  // Returns the format for numbers about as large as `typical`; the one `held` stays while it fits
  // half or twice of that. `places` are those of exact numbers.
  static of(typical, places, held, exponent = EXPONENT) {
    const fits = [typical, 2n * typical, typical / 2n].map((one) => fitting(one, places, exponent));
    return (held && fits.find((one) => one.equals(held))) || fits[0];
  }

  // The format of costs. Two places are enough from 1 on, as for money.
  static ofCosts(typical, held) {
    const places = Math.max(2, 3 - magnitude(typical, COST_EXPONENT));
    return ColumnFormat.of(typical, places, held, COST_EXPONENT);
  }

  equals({ exponent, power, places }) {
    return this.exponent === exponent && this.power === power && this.places === places;
  }

  heading(name, asset) {
    const suffix = SUFFIXES.find(([power]) => power === this.power)?.[1];
    return `${name}, ${suffix ? `${suffix} ` : ""}${asset}`;
  }

  text(value) {
    const { exponent, power } = this;
    const units = roundedTo(value, exponent + power - this.places);
    if (units === 0n && value !== 0n) {
      return this.places ? `<0.${"1".padStart(this.places, "0")}` : "<1";
    }
    const digits = (units / 10n ** BigInt(exponent + power - this.places)).toString().length;
    if (digits > WIDEST_COLUMN && value >= 10n ** BigInt(exponent + SHORTENED_FROM)) {
      return suffixed(value, exponent);
    }
    if (digits > WIDEST_COLUMN) {
      const places = Math.max(0, this.places - (digits - WIDEST_COLUMN));
      return decimal(roundedTo(value, exponent - places), places, exponent);
    }
    return decimal(units / 10n ** BigInt(power), this.places, exponent);
  }
}

function magnitude(value, exponent) {
  return (value || 1n).toString().length - 1 - exponent;
}

function fitting(typical, exactPlaces, exponent) {
  const size = magnitude(typical, exponent);
  if (size < SCALED_FROM) {
    return new ColumnFormat(exponent, 0, Math.min(exactPlaces, COLUMN_DIGITS - 1 - size));
  }
  const power = Math.min(3 * Math.floor((size - 1) / 3), SUFFIXES[0][0]);
  return new ColumnFormat(exponent, power, size - power === 1 ? 2 : 1);
}

function suffixed(value, exponent) {
  const size = magnitude(value, exponent);
  const [power, suffix] = SUFFIXES.find(([power]) => size >= power);
  const places = Math.max(0, 4 - (size - power));
  const units = roundedTo(value, exponent + power - places) / 10n ** BigInt(power);
  return decimal(units, places, exponent) + suffix;
}
