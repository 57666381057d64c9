import { expect, test } from "vitest";
import { addDays, comparedWith, lengthOf, stepOf, stepStart, stepsOf, within } from "../src/dashboard/model/period";

const FEBRUARY = { start: "2024-02-01", end: "2024-02-29" };

test("the period before ends the day before, and is as long", () => {
  const before = comparedWith(FEBRUARY, "previous");
  expect(before).toEqual({ start: "2024-01-03", end: "2024-01-31" });
  expect(before && lengthOf(before)).toBe(29);
});

test("52 weeks earlier begins on the same weekday", () => {
  const before = comparedWith(FEBRUARY, "year");
  expect(before?.start && stepStart(before.start, "WEEK")).toBe(addDays(stepStart(FEBRUARY.start, "WEEK"), -364));
});

test.each([
  ["2026-11-29", "2026-11-23"],
  ["2026-11-23", "2026-11-23"],
  ["2026-01-01", "2025-12-29"],
])("the week of %s begins on Monday, %s", (day, monday) => {
  expect(stepStart(day, "WEEK")).toBe(monday);
});

test.each([
  [{ start: "2026-11-01", end: "2026-11-28" }, "DAY", 28],
  [{ start: "2026-09-01", end: "2026-11-29" }, "WEEK", 13],
  [{ start: "2024-12-31", end: "2026-11-29" }, "MONTH", 24],
] as const)("the steps of a period cover each of its days once: %#", (period, step, count) => {
  expect(stepOf(period)).toBe(step);
  const parts = stepsOf(period, step).map((start) => within(start, step, period));
  expect(parts).toHaveLength(count);
  expect(parts[0]?.start).toBe(period.start);
  expect(parts.at(-1)?.end).toBe(period.end);
  for (const [index, part] of parts.slice(1).entries()) {
    expect(part.start).toBe(addDays(parts[index]?.end ?? "", 1));
  }
});
