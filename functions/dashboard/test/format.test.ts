import { expect, test } from "vitest";
import { changeOf, Formats, words } from "../src/dashboard/model/format";

const ENGLISH = new Formats("en-GB");
const GERMAN = new Formats("de-DE");

test("integers beyond 2^53 are shown with every digit", () => {
  expect(ENGLISH.value(9007199254740993n, "integer")).toBe("9,007,199,254,740,993");
  expect(GERMAN.value(18446744073709551615n, "integer")).toBe("18.446.744.073.709.551.615");
});

test("numbers and days are shown in the reader's locale", () => {
  expect(ENGLISH.value(0.3567, "rate")).toBe("35.7%");
  expect(GERMAN.value(1234.5, "decimal")).toBe("1.234,5");
  expect(GERMAN.value("2026-11-29", "day")).toBe("29.11.2026");
  expect(ENGLISH.value(null, "integer")).toBe("–");
});

test.each([
  [0.4, "0.4 s"],
  [90, "1 min 30 s"],
  [3600, "1 h"],
  [3599.7, "1 h"],
  [432_000, "5 d"],
  [90_061, "1 d 1 h"],
  [9000, "2 h 30 min"],
])("%d seconds are %s", (seconds, shown) => {
  expect(ENGLISH.duration(seconds)).toBe(shown);
});

test("a change is a share of what was before", () => {
  expect(changeOf(150, 100)).toBe(0.5);
  expect(changeOf(1, 0)).toBeNull();
  expect(changeOf(null, 1)).toBeNull();
  expect(changeOf(3n * 2n ** 60n, 2n ** 61n)).toBe(0.5);
});

test("names of definitions read as words", () => {
  expect(words("code_suggestions")).toBe("Code suggestions");
  expect(words("acceptanceRate")).toBe("Acceptance rate");
  expect(words("ideNames")).toBe("IDE names");
  expect(words("CODE_REVIEW")).toBe("Code review");
});

test("a moment is as long ago as it is", () => {
  const now = new Date("2026-11-29T12:00:00Z");
  expect(ENGLISH.ago(new Date("2026-11-29T11:57:00Z"), now)).toBe("3 minutes ago");
  expect(ENGLISH.ago(new Date("2026-11-27T11:57:00Z"), now)).toBe("2 days ago");
});
