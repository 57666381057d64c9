/** What a panel shows: figures, a chart, and the table behind them. */

import type { Integer, Kind } from "./format";
import type { Day, Step } from "./period";
import type { Table } from "./table";

export interface Figure {
  name: string;
  title: string;
  about?: string;
  /** The values of a list, of which `value` is the number. */
  listed?: string | undefined;
  kind: Kind;
  unit?: string | undefined;
  /** Undefined while it is not there yet. */
  value: unknown;
  before?: unknown;
  /** The values of the periods of a course, in their order. */
  course?: unknown[];
  href?: string;
  chosen?: boolean;
}

export interface Point {
  day: Day;
  series: string;
  /** Null where there is none: the line has a gap. */
  value: Integer | null;
  /** The value as the reader sees it. */
  shown: string;
}

export interface Bar {
  label: string;
  value: Integer;
  shown: string;
  href?: string | undefined;
}

export type Chart =
  | { type: "lines" | "stacked"; step: Step; series: string[]; points: Point[]; kind: Kind; unit?: string | undefined }
  | { type: "bars"; bars: Bar[] }
  | { type: "triangle"; rows: { label: string; size: string; cells: (TriangleCell | null)[] }[] };

const FEW = 4;

/**
 * Where the axis of a chart over time names values, if not wherever these are round: small counts have no fractions, and
 * values that are all zero have no height.
 */
export function valueTicks(chart: Extract<Chart, { type: "lines" | "stacked" }>): number[] | null {
  const sums = new Map<string, number>();
  for (const { day, series, value } of chart.points) {
    const key = chart.type === "stacked" ? day : `${day} ${series}`;
    sums.set(key, (sums.get(key) ?? 0) + Number(value ?? 0));
  }
  const heights = [...sums.values()];
  if (heights.every((height) => height === 0)) return [0];
  const greatest = Math.max(...heights);
  if (chart.kind !== "integer" || greatest >= FEW || heights.some((height) => height < 0)) return null;
  return Array.from({ length: greatest + 1 }, (_, value) => value);
}

export interface TriangleCell {
  share: number;
  shown: string;
}

export interface Picture {
  table: Table;
  chart?: Chart | null;
  figures?: Figure[];
}

/** A part of a page: what it asks for, and how it shows the answer. */
export interface Panel {
  /** Unique on the page; the last part of the panel's address. */
  id: string;
  title: string;
  about?: string;
  wide?: boolean;
  /** Fields with aliases, as `Scope.field` writes them. */
  selections: string[];
  /** Those of the fields without which the panel can't be drawn; all where they are not given. */
  needs?: string[];
  fragments?: string[];
  /** Reads the answers by alias. */
  read: (data: Record<string, unknown>) => Picture;
  /** Fields of `Query` with names that the picture shows, made from its data; what they answer is beside the data. */
  follow?: (data: Record<string, unknown>) => string[];
  /** Whether the panel is left out where there is nothing to show, as for a feature without sessions. */
  optional?: boolean;
  /** Whether the table is open at first. */
  isOpen?: boolean;
  /** Whether the table stands for the picture, so that it is always open. */
  tabular?: boolean;
}
