// Exact prices and sizes: whole numbers (BigInt) in units of 10^-19. A price or size has at most
// 18 decimal places, and the mid of two prices has one more.

const EXPONENT = 19;

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

// The text of a percentage, with as many places as in the window.
export function share(percent) {
  const size = Math.abs(percent);
  return `${percent.toFixed(size >= 1 ? 2 : size >= 0.01 ? 3 : 5)} %`;
}

export function decimal(value, places) {
  const digits = value.toString().padStart(EXPONENT + 1, "0");
  const fraction = digits.slice(-EXPONENT).replace(/0+$/, "").padEnd(places, "0");
  return thousands(digits.slice(0, -EXPONENT)) + (fraction && `.${fraction}`);
}

// The text of an exact value, rounded half up to at most `places` places.
export function short(value, places) {
  const unit = 10n ** BigInt(EXPONENT - places);
  return decimal(((value + unit / 2n) / unit) * unit, 0);
}
