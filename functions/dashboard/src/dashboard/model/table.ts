/** The table behind a picture, and its CSV. */

import { stringifyExact } from "../../shared/exact-json";
import type { Kind } from "./format";

export interface Column {
  title: string;
  kind: Kind;
}

export interface Table {
  columns: Column[];
  rows: unknown[][];
  /** The addresses that the first values of the rows lead to. */
  links?: (string | undefined)[];
  /** The kind of each row's values, where rows differ: all columns but the first. */
  rowKinds?: Kind[];
}

/** RFC 4180, with every digit of a number; a text that a spreadsheet would run as a formula gets a quote before it. */
export function toCsv(table: Table): string {
  const lines = [table.columns.map((column) => column.title), ...table.rows];
  return lines
    .map((line) => line.map(cell).join(","))
    .join("\r\n")
    .concat("\r\n");
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") return String(value);
  const text = typeof value === "string" ? value : stringifyExact(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
