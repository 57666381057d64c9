/** Reads and writes JSON without rounding whole numbers: those beyond 2^53 are `bigint`. */

import { isSafeNumber, parse, stringify } from "lossless-json";

export function parseExact(text: string): unknown {
  return parse(text, undefined, (digits) =>
    /^-?\d+$/.test(digits) && !isSafeNumber(digits) ? BigInt(digits) : Number(digits),
  );
}

export function stringifyExact(value: unknown, space?: number): string {
  return stringify(value, undefined, space) ?? "null";
}
