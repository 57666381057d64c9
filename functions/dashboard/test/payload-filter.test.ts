import { expect, test } from "vitest";
import { addFilter, changeKind, removeFilter } from "../src/dashboard/model/filter-tree";
import {
  describeFilter,
  type Filter,
  filterArgument,
  parseFilter,
  printFilter,
  typedValue,
} from "../src/dashboard/model/payload-filter";
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

const RUBY: Filter = { path: "language", operator: "eq", value: "ruby" };
const SMALL: Filter = { path: "size", operator: "lt", value: 9007199254740993n };
const NESTED: Filter = {
  kind: "any",
  filters: [RUBY, { kind: "notAll", filters: [SMALL, { kind: "none", filters: [RUBY, SMALL] }] }],
};

test("groups of filters are what the API takes", () => {
  expect(literal(filterArgument([NESTED]))).toBe(
    '[{any: [{path: "language", eq: "ruby"}, {not: {all: [{path: "size", lt: 9007199254740993}, ' +
      '{not: {any: [{path: "language", eq: "ruby"}, {path: "size", lt: 9007199254740993}]}}]}}]}]',
  );
});

test("a group is in the address as it was", () => {
  expect(parseFilter(printFilter(NESTED))).toEqual(NESTED);
});

test.each([
  "{",
  "{}",
  '{"any":[]}',
  '{"any":[{}]}',
  '{"any":[{"path":"a"}]}',
  '{"any":[{"path":"a","eq":1,"ne":2}]}',
  '{"path":"a","any":[{"path":"a","eq":1}]}',
  '{"any":[{"path":"a","in":1}]}',
  '{"not":[]}',
  `${'{"not":'.repeat(20)}{"path":"a","eq":1}${"}".repeat(20)}`,
])("%s is no filter", (text) => {
  expect(parseFilter(text)).toBeNull();
});

test("a key may begin with a brace", () => {
  expect(parseFilter("{a:eq:1")).toEqual({ path: "{a", operator: "eq", value: 1 });
});

test("filters are added to groups, and an empty group goes with its last filter", () => {
  const grouped = addFilter([RUBY], [], { kind: "any", filters: [RUBY] });
  const both = addFilter(grouped, [1], SMALL);
  expect(both).toEqual([RUBY, { kind: "any", filters: [RUBY, SMALL] }]);
  expect(changeKind(both, [1], "none")[1]).toMatchObject({ kind: "none" });
  expect(removeFilter(removeFilter(both, [1, 1]), [1, 0])).toEqual([RUBY]);
  expect(removeFilter(both, [0])).toEqual([{ kind: "any", filters: [RUBY, SMALL] }]);
});
