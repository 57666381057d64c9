/** The rows of `aiUsage` and its kin, over time. */

import type { AiUsageRow } from "../../generated/schema";
import type { Integer } from "../model/format";
import { STEP_FIELDS, type Step, stepsOf } from "../model/period";
import type { Point } from "../model/picture";
import type { PanelContext } from "./context";

export type Row = Partial<AiUsageRow>;
export type Values = Record<string, Integer | string | null>;

export const rowsOf = <T = Row>(data: Record<string, unknown>, alias: string): T[] => (data[alias] as T[] | null) ?? [];

/** A point for each step and series; zero where there is no row. */
export function pointsOverTime(
  context: PanelContext,
  rows: readonly Row[],
  seriesOf: (row: Row) => string,
  countOf: (row: Row) => Integer,
  series: readonly string[],
  step: Step = context.step,
): Point[] {
  const field = STEP_FIELDS[step];
  const values = new Map(rows.map((row) => [`${row[field]} ${seriesOf(row)}`, countOf(row)]));
  return stepsOf(context.period, step).flatMap((day) =>
    series.map((name) => {
      const value = values.get(`${day} ${name}`) ?? 0;
      return { day, series: name, value, shown: context.formats.integer(value) };
    }),
  );
}

/** A column a series, a row a step. */
export function pivot(points: readonly Point[], series: readonly string[]): unknown[][] {
  const rows = new Map<string, Map<string, Integer | null>>();
  for (const { day, series: name, value } of points) {
    const row = rows.get(day) ?? new Map<string, Integer | null>();
    rows.set(day, row.set(name, value));
  }
  return [...rows].map(([day, row]) => [day, ...series.map((name) => row.get(name) ?? null)]);
}

/** Sums of values by name, the greatest first. */
export function greatestFirst(rows: readonly Row[], nameOf: (row: Row) => string): string[] {
  const sums = new Map<string, bigint>();
  for (const row of rows) {
    sums.set(nameOf(row), (sums.get(nameOf(row)) ?? 0n) + BigInt(row.totalCount ?? 0));
  }
  return [...sums].sort(([, one], [, other]) => (one < other ? 1 : one > other ? -1 : 0)).map(([name]) => name);
}

/** The point of a row that has its day and value in these fields. */
export function point(context: PanelContext, row: Values, day: string, field: string, series: string): Point {
  const value = (row[field] ?? 0) as Integer;
  return { day: row[day] as string, series, value, shown: context.formats.integer(value) };
}
