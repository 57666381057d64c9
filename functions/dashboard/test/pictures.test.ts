/** What panels make of answers. */

import { expect, test } from "vitest";
import { INITIAL, type State } from "../src/dashboard/model/address";
import { type Facts, factsOf } from "../src/dashboard/model/facts";
import { Formats } from "../src/dashboard/model/format";
import { PanelContext } from "../src/dashboard/panels/context";
import { totals } from "../src/dashboard/panels/figures";
import { retention } from "../src/dashboard/panels/people";
import { breakdown, eventsOverTime } from "../src/dashboard/panels/usage";

const FACTS: Facts = {
  ...factsOf({ eventDefinitions: [] }),
  fields: new Map([
    ["aiUserRetention", { args: new Set(["period", "startDate", "endDate"]), rows: new Set(["cohortStart"]) }],
  ]),
};

function context(changes: Partial<State> = {}): PanelContext {
  return new PanelContext(FACTS, { ...INITIAL, period: 3, ...changes }, "2026-11-29", new Formats("en-GB"));
}

test("days without events are drawn as zeros, the greatest feature first", () => {
  const picture = eventsOverTime(context(), "FEATURE").read({
    events: [
      { day: "2026-11-27", feature: "CHAT", totalCount: 2 },
      { day: "2026-11-29", feature: "CODE_REVIEW", totalCount: 9007199254740993n },
    ],
  });
  expect(picture.table.columns.map(({ title }) => title)).toEqual(["Day", "Code review", "Chat"]);
  expect(picture.table.rows).toEqual([
    ["2026-11-27", 0, 2],
    ["2026-11-28", 0, 0],
    ["2026-11-29", 9007199254740993n, 0],
  ]);
  expect(picture.chart?.type === "stacked" && picture.chart.points.map(({ shown }) => shown)).toContain(
    "9,007,199,254,740,993",
  );
});

test("figures stand beside those of the compared period", () => {
  const picture = totals(context()).read({
    totals: { totalEventCount: 12, usersCount: 3, featuresCount: 2 },
    totalsBefore: { totalEventCount: 6, usersCount: 3, featuresCount: 1 },
  });
  expect(picture.figures?.map(({ value, before }) => [value, before])).toEqual([
    [12, 6],
    [3, 3],
    [2, 1],
  ]);
  expect(picture.table.columns[2]?.title).toBe("2026-11-24 to 2026-11-26");
});

test("a value of a payload leads to the events that carry it", () => {
  const state = { view: { page: "feature", feature: "chat" }, breakdown: "size" } as const;
  const picture = breakdown(context(state))?.read({
    breakdown: [
      { payload: { size: 9007199254740993n }, totalCount: 2, usersCount: 1 },
      { payload: { size: null }, totalCount: 1, usersCount: 1 },
    ],
  });
  const bars = picture?.chart?.type === "bars" ? picture.chart.bars : [];
  expect(bars.map(({ label }) => label)).toEqual(["9007199254740993", "None"]);
  expect(bars[0]?.href).toContain("where=size%3Aeq%3A9007199254740993");
  expect(bars[1]?.href).toContain("where=size%3Aexists%3Afalse");
});

test("the triangle of retention has a row a cohort and a column a period", () => {
  const picture = retention(context())?.read({
    retention: [
      {
        cohortStart: "2026-11-16",
        usersCount: 4,
        periods: [
          { offset: 0, usersCount: 4, rate: 1 },
          { offset: 1, usersCount: 1, rate: 0.25 },
        ],
      },
      { cohortStart: "2026-11-23", usersCount: 2, periods: [{ offset: 0, usersCount: 2, rate: 1 }] },
      { cohortStart: "2026-11-09", usersCount: 0, periods: [] },
    ],
  });
  expect(picture?.table.rows).toEqual([
    ["2026-11-16", 4, 1, 0.25],
    ["2026-11-23", 2, 1, null],
  ]);
  expect(picture?.chart?.type === "triangle" && picture.chart.rows[0]?.cells[1]?.shown).toBe("25%");
});
