/** Units of metrics, the axis of a chart, and long texts. */

import { expect, test } from "vitest";
import { Formats, shortened } from "../src/dashboard/model/format";
import { type Chart, valueTicks } from "../src/dashboard/model/picture";

const ENGLISH = new Formats("en-GB");
const GERMAN = new Formats("de-DE");

test.each([
  [1234.5, "decimal", "ms", "1,234.5\u00a0ms"],
  [9007199254740993n, "integer", "lines", "9,007,199,254,740,993\u00a0lines"],
  [90, "decimal", "s", "1 min 30 s"],
  [1234.5, "decimal", "EUR", "€1,234.50"],
  [12, "integer", "JPY", "JP¥12"],
  [0.25, "rate", undefined, "25%"],
  [null, "decimal", "ms", "–"],
  [undefined, "decimal", "EUR", "…"],
] as const)("%s as %s in %s is %s", (value, kind, unit, shown) => {
  expect(ENGLISH.value(value, kind, unit)).toBe(shown);
});

test("money is written as the reader's locale does", () => {
  expect(GERMAN.value(1234.5, "decimal", "EUR")).toBe("1.234,50\u00a0€");
});

test("an axis names the unit of its values", () => {
  expect(ENGLISH.tick(12_000, "integer", "ms")).toBe("12k\u00a0ms");
  expect(ENGLISH.tick(3600, "decimal", "s")).toBe("1 h");
  expect(ENGLISH.tick(0.5, "rate")).toBe("50%");
});

const chart = (values: number[], kind: "integer" | "decimal", type: "lines" | "stacked" = "lines") =>
  ({
    type,
    kind,
    step: "DAY",
    series: ["a", "b"],
    points: values.map((value, at) => ({ day: "2026-11-29", series: at % 2 ? "b" : "a", value, shown: "" })),
  }) satisfies Extract<Chart, { type: "lines" | "stacked" }>;

test("the axis of few counts has no fractions", () => {
  expect(valueTicks(chart([1], "integer"))).toEqual([0, 1]);
  expect(valueTicks(chart([1, 2], "integer", "stacked"))).toEqual([0, 1, 2, 3]);
  expect(valueTicks(chart([0, 0], "integer"))).toEqual([0]);
  expect(valueTicks(chart([5], "integer"))).toBeNull();
  expect(valueTicks(chart([1], "decimal"))).toBeNull();
  expect(valueTicks(chart([-1, 1], "integer"))).toBeNull();
});

test("a long text is cut after whole characters", () => {
  expect(shortened("short")).toBe("short");
  expect(shortened("a".repeat(201))).toBe(`${"a".repeat(200)}…`);
  expect(shortened("😀".repeat(200))).toBe("😀".repeat(200));
  expect(shortened(`a${"😀".repeat(200)}`)).toBe(`a${"😀".repeat(199)}…`);
});
