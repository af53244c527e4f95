// Prices and sizes, exact: whole numbers of 10^-19 (BigInt). They have at most 18 places, and the
// mid of two prices one more.

const EXPONENT = 19;

export function units(text) {
  const [whole, fraction = ""] = text.split(".");
  return BigInt(whole + fraction.padEnd(EXPONENT, "0"));
}

function thousands(whole) {
  return whole.replace(/\B(?=(\d{3})+$)/g, ",");
}

// A drawn price: a double will do.
export function rounded(value, places) {
  const [whole, fraction] = value.toFixed(places).split(".");
  return thousands(whole) + (fraction ? `.${fraction}` : "");
}

// As the window writes it.
export function share(percent) {
  const size = Math.abs(percent);
  return `${percent.toFixed(size >= 1 ? 2 : size >= 0.01 ? 3 : 5)} %`;
}

export function decimal(value, places) {
  const digits = value.toString().padStart(EXPONENT + 1, "0");
  const fraction = digits.slice(-EXPONENT).replace(/0+$/, "").padEnd(places, "0");
  return thousands(digits.slice(0, -EXPONENT)) + (fraction && `.${fraction}`);
}

// An exact value rounded, half up, to at most so many places.
export function short(value, places) {
  const unit = 10n ** BigInt(EXPONENT - places);
  return decimal(((value + unit / 2n) / unit) * unit, 0);
}
