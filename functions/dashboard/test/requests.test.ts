import { expect, test } from "vitest";
import type { Panel } from "../src/dashboard/model/picture";
import { batchesOf, type Question, requestFor, wavesOf } from "../src/dashboard/model/requests";
import { Scope } from "../src/dashboard/model/selection";

const panel = (id: string, selections: string[], needs?: string[]): Panel => ({
  id,
  title: id,
  selections,
  ...(needs ? { needs } : {}),
  read: () => ({ table: { columns: [], rows: [] } }),
});

function question(): Question {
  const panels = [
    panel("figures", ["now { ...counts }", "before { ...counts }", "course"], ["now { ...counts }"]),
    panel("course", ["course"]),
    panel("users", ["users"]),
  ];
  for (const each of panels.slice(0, 1)) each.fragments = ["fragment counts on Metrics { total }"];
  return { scope: new Scope(null), panels, freshness: "newest" };
}

test("what the first panel can't be drawn without is asked for first, all else after it", () => {
  expect(wavesOf(question())).toEqual([["now { ...counts }"], ["course", "users", "before { ...counts }", "newest"]]);
});

test.each([
  [20, [["a", "b", "c", "d", "e"]]],
  [250, [["a", "b"], ["c", "d"], ["e"]]],
  [5000, [["a"], ["b"], ["c"], ["d"], ["e"]]],
])("after a first answer within %d ms, the others are asked for in %j", (milliseconds, batches) => {
  expect(batchesOf(["a", "b", "c", "d", "e"], milliseconds)).toEqual(batches);
});

test("a request has the fragments that its fields spread, and no others", () => {
  expect(requestFor(question(), ["now { ...counts }"]).query).toContain("fragment counts");
  expect(requestFor(question(), ["course"]).query).not.toContain("fragment");
});

test("a variable is sent beside a query, and written into the one that is copied", () => {
  const scope = new Scope("a/b");
  const payload = scope.variable("payload", "[PayloadFilter!]", [{ path: "size", eq: 9007199254740993n }]);
  const field = scope.field("events", "aiUsage", { search: 'payload: "$payload"', payload }, "totalCount");
  expect(scope.request([field])).toEqual({
    query: expect.stringMatching(/^query \(\$payload: \[PayloadFilter!\]\) \{/),
    variables: { payload: [{ path: "size", eq: 9007199254740993n }] },
  });
  expect(scope.query([field])).toContain('search: "payload: \\"$payload\\"", payload: [{path: "size"');
  expect(scope.query([field])).toContain("eq: 9007199254740993}");
  expect(scope.request([scope.field("events", "aiUsage", { search: "$payload" }, "totalCount")])).not.toHaveProperty(
    "variables",
  );
});
