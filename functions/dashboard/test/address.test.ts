import { expect, test } from "vitest";
import { fromSearch, INITIAL, type State, toSearch } from "../src/dashboard/model/address";

const STATES: State[] = [
  INITIAL,
  { ...INITIAL, namespace: "acme-labs/platform", period: 90, comparison: "year" },
  { ...INITIAL, period: { start: "2026-02-01", end: "2026-02-28" }, comparison: "none" },
  {
    ...INITIAL,
    view: { page: "feature", feature: "chat" },
    group: "payload",
    breakdown: "job.id",
    metric: "acceptanceRate",
    filters: [
      { path: "language", operator: "eq", value: "ruby" },
      { path: "a:b", operator: "in", value: ["x", 9007199254740993n] },
      { path: "size", operator: "exists", value: false },
      { kind: "any", filters: [{ path: "language", operator: "like", value: "%&+ #" }] },
    ],
  },
  { ...INITIAL, view: { page: "user", user: "9223372036854775807" } },
];

test.each(STATES)("an address keeps the state of its page: %#", (state) => {
  expect(fromSearch(toSearch(state))).toEqual(state);
});

test("the address of the first page is bare", () => {
  expect(toSearch(INITIAL)).toBe("");
});

test.each([
  "?days=-1",
  "?days=x",
  "?start=2026-13-01&end=2026-13-02",
  "?start=2026-02-02&end=2026-02-01",
  "?compare=moon",
  "?start=2026-02-30&end=2026-03-01",
  "?namespace=",
])("what %s says wrongly is as usual", (search) => {
  expect(fromSearch(search)).toEqual(INITIAL);
});

test("a filter that is none is left out", () => {
  const { filters } = fromSearch(
    "?feature=chat&where=language&where=a:eq:ruby&where=b:in:1&where=c:exists:1&where=d:gt:1",
  );
  expect(filters).toEqual([{ path: "d", operator: "gt", value: 1 }]);
});
