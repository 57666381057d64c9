import { expect, test } from "vitest";
import { describeFilter, filterArgument, typedValue } from "../src/dashboard/model/payload-filter";
import { literal } from "../src/dashboard/model/selection";

test.each([
  ["ruby", "ruby"],
  [" 42 ", 42],
  ["9007199254740993", 9007199254740993n],
  ["1.5e3", 1500],
  ["true", true],
  ['"42"', "42"],
  ["1.2.3", "1.2.3"],
  ["007", "007"],
  ["-", "-"],
])("what is typed is a number, boolean or text: %#", (typed, value) => {
  expect(typedValue(typed, "eq")).toBe(value);
});

test("the beginning of a text stays text", () => {
  expect(typedValue("1 ", "startsWith")).toBe("1 ");
  expect(typedValue("1", "contains")).toBe(1);
});

test("a list is typed with commas", () => {
  expect(typedValue("ruby, 2, go", "in")).toEqual(["ruby", 2, "go"]);
});

test("filters become an argument of the API", () => {
  const filters = [
    { path: 'a"b', operator: "eq", value: 'say "hi"' },
    { path: "n", operator: "in", value: [9007199254740993n, true] },
  ] as const;
  expect(literal(filterArgument([...filters] as never))).toBe(
    '[{path: "a\\"b", eq: "say \\"hi\\""}, {path: "n", in: [9007199254740993, true]}]',
  );
  expect(filterArgument([])).toBeUndefined();
});

test("a filter reads as a sentence's part", () => {
  expect(describeFilter({ path: "language", operator: "ne", value: "go" })).toBe("language is not go");
  expect(describeFilter({ path: "language", operator: "exists", value: false })).toBe("language is missing");
});
