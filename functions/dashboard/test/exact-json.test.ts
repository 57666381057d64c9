import { expect, test } from "vitest";
import { parseExact, stringifyExact } from "../src/shared/exact-json";

test("whole numbers beyond 2^53 keep every digit", () => {
  const text = '{"a":9007199254740993,"b":-18446744073709551615,"c":1,"d":0.1}';
  expect(parseExact(text)).toEqual({ a: 9007199254740993n, b: -18446744073709551615n, c: 1, d: 0.1 });
  expect(stringifyExact(parseExact(text))).toBe(text);
});
